package verbs

import (
	"fmt"
	"unsafe"

	"github.com/ebitengine/purego"
)

// Service is how reliable a connection is: enum ibv_qp_type.
type Service int32

// The services of connected queue pairs.
const (
	// Reliable repeats what was lost, keeps the order, and says when the peer cannot be reached.
	Reliable Service = 2
	// Unreliable does neither repeat nor notice. It is all that RDMA over Thunderbolt has.
	Unreliable Service = 3
)

// String names the service.
func (s Service) String() string {
	switch s {
	case Reliable:
		return "reliable connection"
	case Unreliable:
		return "unreliable connection"
	}
	return fmt.Sprintf("service %d", int32(s))
}

// QP is a queue pair: one end of a connection.
type QP struct {
	Number uint32

	pd                   *PD
	ptr                  uintptr
	service              Service
	postSend, postRecv   uintptr
	send                 cSendWR
	recv                 cRecvWR
	sendPiece, recvPiece cSGE
	bad                  uintptr
	sendArgs, recvArgs   []uintptr
}

// QP makes a queue pair whose queues hold at least so many work requests each, and whose completions go
// to q. It is an error if the device grants less.
func (p *PD) QP(service Service, q *CQ, sends, receives int) (*QP, error) {
	a := &cQPInitAttr{sendCQ: q.ptr, recvCQ: q.ptr, qpType: int32(service)}
	a.cap = cQPCap{maxSendWR: uint32(sends), maxRecvWR: uint32(receives), maxSendSGE: 1, maxRecvSGE: 1}
	ptr, err := object("ibv_create_qp", p.c.l.createQP, p.ptr, uintptr(unsafe.Pointer(a)))
	if err != nil {
		return nil, err
	}
	s := in[cQP](ptr)
	ops := &in[cContext](s.context).ops
	qp := &QP{Number: s.qpNum, pd: p, ptr: ptr, service: service, postSend: ops.postSend, postRecv: ops.postRecv}
	if a.cap.maxSendWR < uint32(sends) || a.cap.maxRecvWR < uint32(receives) {
		qp.Close()
		return nil, fmt.Errorf("ibv_create_qp: queues for %d sends and %d receives are wanted, the device grants %d and %d",
			sends, receives, a.cap.maxSendWR, a.cap.maxRecvWR)
	}
	// The garbage collector does not move what is on the heap, so the arguments can be made once.
	qp.send = cSendWR{sgList: uintptr(unsafe.Pointer(&qp.sendPiece)), numSGE: 1, opcode: wrSend, sendFlags: sendSignaled}
	if service == Reliable {
		qp.send.sendFlags |= sendSolicited
	}
	qp.recv = cRecvWR{sgList: uintptr(unsafe.Pointer(&qp.recvPiece)), numSGE: 1}
	bad := uintptr(unsafe.Pointer(&qp.bad))
	qp.sendArgs = []uintptr{ptr, uintptr(unsafe.Pointer(&qp.send)), bad}
	qp.recvArgs = []uintptr{ptr, uintptr(unsafe.Pointer(&qp.recv)), bad}
	return qp, nil
}

// Close ends the queue pair; what was posted and is not complete never will be.
func (q *QP) Close() error { return status("ibv_destroy_qp", q.pd.c.l.destroyQP, q.ptr) }

// Init binds the queue pair to a port, for sends and receives only.
func (q *QP) Init(port int) error {
	a := &cQPAttr{qpState: stateInit, portNum: uint8(port)}
	return q.modify("INIT", a, qpState|qpPKeyIndex|qpPort|qpAccessFlags)
}

// Path is the way to the other end of a connection.
type Path struct {
	Port    int    // of this device
	QP      uint32 // number of the peer's queue pair
	PSN     uint32 // the number that the peer gives its first packet, 24 bits
	LID     uint16 // the peer's, on InfiniBand
	GID     GID    // the peer's; zero if LIDs suffice
	GIDFrom int    // index of this end's GID
	HopMax  uint8  // routers on the way
	MTU     MTU
}

// Connect makes the queue pair ready to receive from the peer.
func (q *QP) Connect(p Path) error {
	a := &cQPAttr{qpState: stateRTR, pathMTU: int32(p.MTU), destQPNum: p.QP, rqPSN: p.PSN}
	a.ah = cAHAttr{dlid: p.LID, portNum: uint8(p.Port)}
	if !p.GID.IsZero() {
		a.ah.isGlobal = 1
		a.ah.grh = cGlobalRoute{dgid: p.GID, sgidIndex: uint8(p.GIDFrom), hopLimit: p.HopMax}
	}
	mask := qpState | qpAV | qpPathMTU | qpDestQPN | qpRQPSN
	if q.service == Reliable {
		a.minRNRTimer = rnrTimer
		mask |= qpMaxDestRDAtomic | qpMinRNRTimer
	}
	return q.modify("RTR", a, mask)
}

// How a reliable connection repeats: a packet that is not acknowledged within 4.096 µs x 2^timer is sent
// again, up to 7 times, so that a peer that is gone is noticed within a second or a few, as the adapter
// rounds. A peer without a buffer is asked again a few times, 0.64 ms apart; 7 would mean for ever.
const (
	ackTimer   = 14
	retries    = 7
	rnrTimer   = 12
	rnrRetries = 6
)

// Activate makes the queue pair ready to send; psn is the number of its first packet.
func (q *QP) Activate(psn uint32) error {
	a := &cQPAttr{qpState: stateRTS, sqPSN: psn}
	mask := qpState | qpSQPSN
	if q.service == Reliable {
		a.timeout, a.retryCnt, a.rnrRetry = ackTimer, retries, rnrRetries
		mask |= qpTimeout | qpRetryCnt | qpRNRRetry | qpMaxQPRDAtomic
	}
	return q.modify("RTS", a, mask)
}

func (q *QP) modify(to string, a *cQPAttr, mask int32) error {
	if err := status("ibv_modify_qp", q.pd.c.l.modifyQP, q.ptr, uintptr(unsafe.Pointer(a)), uintptr(mask)); err != nil {
		return fmt.Errorf("queue pair to %s: %w", to, err)
	}
	return nil
}

// PostSend sends the bytes at address, which lie in the memory with the key. They must not change before the
// completion with this id. If the queue is full the error has syscall.ENOMEM in its chain. On a reliable
// connection the message is solicited: see [CQ.Notify].
func (q *QP) PostSend(id uint64, address uintptr, bytes int, lkey uint32) error {
	q.send.wrID = id
	q.sendPiece = cSGE{uint64(address), uint32(bytes), lkey}
	r, _, _ := purego.SyscallN(q.postSend, q.sendArgs...)
	return result("ibv_post_send", int32(r))
}

// PostReceive gives the queue pair a buffer for one message, until the completion with this id.
func (q *QP) PostReceive(id uint64, address uintptr, bytes int, lkey uint32) error {
	q.recv.wrID = id
	q.recvPiece = cSGE{uint64(address), uint32(bytes), lkey}
	r, _, _ := purego.SyscallN(q.postRecv, q.recvArgs...)
	return result("ibv_post_recv", int32(r))
}

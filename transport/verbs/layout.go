package verbs

// The structures of infiniband/verbs.h (rdma-core) that this package reads or writes, field for field as a
// C compiler lays them out on amd64 and arm64. Of structures that the library allocates only the beginning
// is here, up to the last field that is used: what follows, such as mutexes, differs between systems.
// Blank fields are not used.

type cContextOps struct { // struct ibv_context_ops: 32 function pointers
	_           [11]uintptr
	pollCQ      uintptr // int (struct ibv_cq *, int, struct ibv_wc *)
	reqNotifyCQ uintptr // int (struct ibv_cq *, int)
	_           [12]uintptr
	postSend    uintptr // int (struct ibv_qp *, struct ibv_send_wr *, struct ibv_send_wr **)
	postRecv    uintptr // int (struct ibv_qp *, struct ibv_recv_wr *, struct ibv_recv_wr **)
	_           [5]uintptr
}

type cContext struct { // struct ibv_context, the beginning
	_   uintptr
	ops cContextOps
}

type cMR struct { // struct ibv_mr
	_    [4]uintptr
	_    uint32
	lkey uint32
	_    [2]uint32
}

type cChannel struct { // struct ibv_comp_channel
	_  uintptr
	fd int32
	_  int32
}

type cCQ struct { // struct ibv_cq, the beginning
	context uintptr
}

type cQP struct { // struct ibv_qp, the beginning
	context uintptr
	_       [5]uintptr
	_       uint32
	qpNum   uint32
}

type cDeviceAttr struct { // struct ibv_device_attr
	fwVer       [64]byte
	_           [4]uint64
	_           [3]uint32
	maxQP       int32
	_           [6]int32
	maxMR       int32
	_           [21]int32
	_           uint16
	_           uint8
	physPortCnt uint8
	_           [4]byte
}

type cPortAttr struct { // struct ibv_port_attr
	state       int32
	_           int32
	activeMTU   int32
	gidTblLen   int32
	_           [4]uint32
	_           uint16
	lid         uint16
	_           uint16
	_           [5]uint8
	activeWidth uint8
	activeSpeed uint8
	_           uint8
	linkLayer   uint8
	_           uint8
	_           uint16
}

type cGIDEntry struct { // struct ibv_gid_entry
	gid     GID
	_       [2]uint32
	gidType uint32
	_       uint32
}

type cQPCap struct { // struct ibv_qp_cap
	maxSendWR, maxRecvWR, maxSendSGE, maxRecvSGE, maxInlineData uint32
}

type cQPInitAttr struct { // struct ibv_qp_init_attr
	_        uintptr
	sendCQ   uintptr
	recvCQ   uintptr
	_        uintptr
	cap      cQPCap
	qpType   int32
	sqSigAll int32
	_        uint32
}

type cGlobalRoute struct { // struct ibv_global_route; aligned as its union's uint64 wants
	dgid      GID
	_         uint32
	sgidIndex uint8
	hopLimit  uint8
	_         [2]uint8
}

type cAHAttr struct { // struct ibv_ah_attr
	grh      cGlobalRoute
	dlid     uint16
	_        [3]uint8
	isGlobal uint8
	portNum  uint8
	_        uint8
}

type cQPAttr struct { // struct ibv_qp_attr
	qpState     int32
	_           int32
	pathMTU     int32
	_           int32
	_           uint32
	rqPSN       uint32
	sqPSN       uint32
	destQPNum   uint32
	_           uint32
	_           cQPCap
	ah          cAHAttr
	_           cAHAttr
	_           [2]uint16
	_           [2]uint8
	_           [2]uint8
	minRNRTimer uint8
	portNum     uint8
	timeout     uint8
	retryCnt    uint8
	rnrRetry    uint8
	_           [2]uint8
	_           uint32
	_           [4]byte
}

type cSGE struct { // struct ibv_sge
	addr   uint64
	length uint32
	lkey   uint32
}

type cSendWR struct { // struct ibv_send_wr
	wrID      uint64
	next      uintptr
	sgList    uintptr
	numSGE    int32
	opcode    int32
	sendFlags uint32
	_         uint32
	_         [88]byte // what other opcodes need
}

type cRecvWR struct { // struct ibv_recv_wr
	wrID   uint64
	next   uintptr
	sgList uintptr
	numSGE int32
	_      int32
}

// enum ibv_wr_opcode, ibv_send_flags, ibv_qp_state and ibv_qp_attr_mask.
const (
	wrSend        = 2
	sendSignaled  = 1 << 1
	sendSolicited = 1 << 2

	stateInit = 1
	stateRTR  = 2
	stateRTS  = 3

	qpState           int32 = 1 << 0
	qpAccessFlags     int32 = 1 << 3
	qpPKeyIndex       int32 = 1 << 4
	qpPort            int32 = 1 << 5
	qpAV              int32 = 1 << 7
	qpPathMTU         int32 = 1 << 8
	qpTimeout         int32 = 1 << 9
	qpRetryCnt        int32 = 1 << 10
	qpRNRRetry        int32 = 1 << 11
	qpRQPSN           int32 = 1 << 12
	qpMaxQPRDAtomic   int32 = 1 << 13
	qpMinRNRTimer     int32 = 1 << 15
	qpSQPSN           int32 = 1 << 16
	qpMaxDestRDAtomic int32 = 1 << 17
	qpDestQPN         int32 = 1 << 20
)

package verbs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"go.uber.org/goleak"

	"github.com/orrery-ai/orrery/internal/standin"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		standin.Clean()
		os.Exit(code)
	}))
}

// layouts are C expressions, and what they must be.
func layouts() map[string]uintptr {
	want := map[string]uintptr{
		"IBV_WR_SEND": wrSend, "IBV_SEND_SIGNALED": sendSignaled, "IBV_SEND_SOLICITED": sendSolicited,
		"IBV_QPT_RC": uintptr(Reliable), "IBV_QPT_UC": uintptr(Unreliable),
		"IBV_WC_SEND": uintptr(Sent), "IBV_WC_RECV": uintptr(Received),
		"IBV_QPS_INIT": stateInit, "IBV_QPS_RTR": stateRTR, "IBV_QPS_RTS": stateRTS,
		"IBV_QP_STATE": uintptr(qpState), "IBV_QP_ACCESS_FLAGS": uintptr(qpAccessFlags), "IBV_QP_PKEY_INDEX": uintptr(qpPKeyIndex),
		"IBV_QP_PORT": uintptr(qpPort), "IBV_QP_AV": uintptr(qpAV), "IBV_QP_PATH_MTU": uintptr(qpPathMTU), "IBV_QP_TIMEOUT": uintptr(qpTimeout),
		"IBV_QP_RETRY_CNT": uintptr(qpRetryCnt), "IBV_QP_RNR_RETRY": uintptr(qpRNRRetry), "IBV_QP_RQ_PSN": uintptr(qpRQPSN),
		"IBV_QP_MAX_QP_RD_ATOMIC": uintptr(qpMaxQPRDAtomic), "IBV_QP_MIN_RNR_TIMER": uintptr(qpMinRNRTimer), "IBV_QP_SQ_PSN": uintptr(qpSQPSN),
		"IBV_QP_MAX_DEST_RD_ATOMIC": uintptr(qpMaxDestRDAtomic), "IBV_QP_DEST_QPN": uintptr(qpDestQPN),
		"IBV_ACCESS_LOCAL_WRITE": uintptr(LocalWrite), "IBV_ACCESS_REMOTE_WRITE": uintptr(RemoteWrite), "IBV_ACCESS_REMOTE_READ": uintptr(RemoteRead),
		"IBV_MTU_256": uintptr(MTU256), "IBV_MTU_4096": uintptr(MTU4096),
		"IBV_PORT_DOWN": uintptr(PortDown), "IBV_PORT_ACTIVE": uintptr(PortActive), "IBV_PORT_ACTIVE_DEFER": uintptr(PortActiveDefer),
		"IBV_LINK_LAYER_INFINIBAND": uintptr(LinkInfiniBand), "IBV_LINK_LAYER_ETHERNET": uintptr(LinkEthernet),
		"IBV_GID_TYPE_IB": uintptr(GIDInfiniBand), "IBV_GID_TYPE_ROCE_V1": uintptr(GIDRoCEv1), "IBV_GID_TYPE_ROCE_V2": uintptr(GIDRoCEv2),
		"IBV_WC_SUCCESS": uintptr(Success), "IBV_WC_LOC_LEN_ERR": uintptr(LocalLength), "IBV_WC_LOC_PROT_ERR": uintptr(LocalProtection),
		"IBV_WC_WR_FLUSH_ERR": uintptr(Flushed), "IBV_WC_REM_INV_REQ_ERR": uintptr(RemoteInvalid), "IBV_WC_REM_OP_ERR": uintptr(RemoteOperation),
		"IBV_WC_RETRY_EXC_ERR": uintptr(RetriesExhausted), "IBV_WC_RNR_RETRY_EXC_ERR": uintptr(NotReadyRetriesExhausted),
		"IBV_WC_FATAL_ERR": uintptr(Fatal), "IBV_WC_RESP_TIMEOUT_ERR": uintptr(ResponseTimeout), "IBV_WC_GENERAL_ERR": uintptr(General),
		"IBV_WC_TM_RNDV_INCOMPLETE": uintptr(TagRendezvousIncomplete),
	}
	size := func(c string, v any) { want["sizeof(struct "+c+")"] = reflect.TypeOf(v).Size() }
	// A field is found by its name in Go; the C name stands first.
	fields := func(c string, v any, names ...string) {
		for i := 0; i < len(names); i += 2 {
			f, ok := reflect.TypeOf(v).FieldByName(names[i+1])
			if !ok {
				panic(names[i+1])
			}
			field := "offsetof(struct " + c + ", " + names[i] + ")"
			want[field] = f.Offset
			want["sizeof(((struct "+c+" *)0)->"+names[i]+")"] = f.Type.Size()
		}
	}
	size("ibv_context_ops", cContextOps{})
	fields("ibv_context_ops", cContextOps{}, "poll_cq", "pollCQ", "req_notify_cq", "reqNotifyCQ", "post_send", "postSend", "post_recv", "postRecv")
	fields("ibv_context", cContext{}, "ops", "ops")
	size("ibv_mr", cMR{})
	fields("ibv_mr", cMR{}, "lkey", "lkey")
	size("ibv_comp_channel", cChannel{})
	fields("ibv_comp_channel", cChannel{}, "fd", "fd")
	fields("ibv_cq", cCQ{}, "context", "context")
	fields("ibv_qp", cQP{}, "context", "context", "qp_num", "qpNum")
	size("ibv_device_attr", cDeviceAttr{})
	fields("ibv_device_attr", cDeviceAttr{}, "fw_ver", "fwVer", "max_qp", "maxQP", "max_mr", "maxMR", "phys_port_cnt", "physPortCnt")
	size("ibv_port_attr", cPortAttr{})
	fields("ibv_port_attr", cPortAttr{}, "state", "state", "active_mtu", "activeMTU", "gid_tbl_len", "gidTblLen",
		"lid", "lid", "active_width", "activeWidth", "active_speed", "activeSpeed", "link_layer", "linkLayer")
	size("ibv_gid_entry", cGIDEntry{})
	fields("ibv_gid_entry", cGIDEntry{}, "gid", "gid", "gid_type", "gidType")
	want["sizeof(union ibv_gid)"] = unsafe.Sizeof(GID{})
	size("ibv_qp_cap", cQPCap{})
	fields("ibv_qp_cap", cQPCap{}, "max_send_wr", "maxSendWR", "max_recv_wr", "maxRecvWR", "max_send_sge", "maxSendSGE", "max_recv_sge", "maxRecvSGE",
		"max_inline_data", "maxInlineData")
	size("ibv_qp_init_attr", cQPInitAttr{})
	fields("ibv_qp_init_attr", cQPInitAttr{}, "send_cq", "sendCQ", "recv_cq", "recvCQ", "cap", "cap", "qp_type", "qpType", "sq_sig_all", "sqSigAll")
	size("ibv_global_route", cGlobalRoute{})
	fields("ibv_global_route", cGlobalRoute{}, "dgid", "dgid", "sgid_index", "sgidIndex", "hop_limit", "hopLimit")
	size("ibv_ah_attr", cAHAttr{})
	fields("ibv_ah_attr", cAHAttr{}, "grh", "grh", "dlid", "dlid", "is_global", "isGlobal", "port_num", "portNum")
	size("ibv_qp_attr", cQPAttr{})
	fields("ibv_qp_attr", cQPAttr{}, "qp_state", "qpState", "path_mtu", "pathMTU", "rq_psn", "rqPSN", "sq_psn", "sqPSN", "dest_qp_num", "destQPNum",
		"ah_attr", "ah", "min_rnr_timer", "minRNRTimer", "port_num", "portNum", "timeout", "timeout", "retry_cnt", "retryCnt", "rnr_retry", "rnrRetry")
	size("ibv_sge", cSGE{})
	fields("ibv_sge", cSGE{}, "addr", "addr", "length", "length", "lkey", "lkey")
	size("ibv_send_wr", cSendWR{})
	fields("ibv_send_wr", cSendWR{}, "wr_id", "wrID", "next", "next", "sg_list", "sgList", "num_sge", "numSGE", "opcode", "opcode", "send_flags", "sendFlags")
	size("ibv_recv_wr", cRecvWR{})
	fields("ibv_recv_wr", cRecvWR{}, "wr_id", "wrID", "next", "next", "sg_list", "sgList", "num_sge", "numSGE")
	size("ibv_wc", Completion{})
	fields("ibv_wc", Completion{}, "wr_id", "ID", "status", "Status", "opcode", "Opcode", "vendor_err", "Vendor", "byte_len", "Bytes")
	return want
}

func TestLayoutsAreThoseOfTheHeader(t *testing.T) {
	cc := standin.Compiler(t)
	want := layouts()
	var program strings.Builder
	program.WriteString("#include <infiniband/verbs.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void)\n{\n")
	for c := range want {
		fmt.Fprintf(&program, "\tprintf(\"%s\\t%%llu\\n\", (unsigned long long)(%s));\n", c, c)
	}
	program.WriteString("\treturn 0;\n}\n")
	dir := t.TempDir()
	source, binary := filepath.Join(dir, "layout.c"), filepath.Join(dir, "layout")
	if err := os.WriteFile(source, []byte(program.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(cc, "-o", binary, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(binary).Output()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(out)) {
		c, value, _ := strings.Cut(strings.TrimSpace(line), "\t")
		got, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if n++; uintptr(got) != want[c] {
			t.Errorf("%s is %d, here %d", c, got, want[c])
		}
	}
	if n != len(want) {
		t.Errorf("%d of %d compared", n, len(want))
	}
}

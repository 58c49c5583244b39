package kvcache

import (
	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
)

// Pack gives the keys and values of kv, a block in m, without the room after its last token, as they cross the network: as in a
// block with room for Len tokens. A full block is returned as it is, if the host can read it there; else
// they are copies.
func Pack(m device.Memory, kv *attention.KV, s attention.Shape) (k, v []byte, err error) {
	if k, err = m.Read(kv.K); err != nil {
		return nil, nil, err
	}
	if v, err = m.Read(kv.V); err != nil {
		return nil, nil, err
	}
	if kv.Len == kv.Cap {
		return k, v, nil
	}
	n := s.BlockBytes(kv.Format, kv.Len) / 2
	packed := make([]byte, 2*n)
	kv.Gather(packed[:n], k, s.KVHeads, s.HeadDim)
	kv.Gather(packed[n:], v, s.KVHeads, s.HeadDim)
	return packed[:n], packed[n:], nil
}

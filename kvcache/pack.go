package kvcache

import (
	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
)

// Pack gives the keys and values of kv, a block in m, without the room after its last token, [kvHeads][Len][headDim]
// each, as they cross the network. A full block is returned as it is, if the host can read it there; else
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
	return gather(k, kv, s), gather(v, kv, s), nil
}

// gather copies the rows of all heads that hold data, in half of a block.
func gather(half []byte, kv *attention.KV, s attention.Shape) []byte {
	row := kv.Format.BytesPerHead(s.HeadDim)
	n := kv.Len * row
	out := make([]byte, s.KVHeads*n)
	for h := range s.KVHeads {
		copy(out[h*n:(h+1)*n], half[h*kv.Cap*row:])
	}
	return out
}

package kvcache

import "github.com/orrery-ai/orrery/attention"

// Pack gives the keys and values of kv without the room after its last token, [kvHeads][Len][headDim]
// each, as they cross the network. A full block is returned as it is; a short one is copied.
func Pack(kv *attention.KV, s attention.Shape) (k, v []byte) {
	if kv.Len == kv.Cap {
		return kv.K, kv.V
	}
	row := kv.Format.BytesPerHead(s.HeadDim)
	k, v = make([]byte, kv.Len*row*s.KVHeads), make([]byte, kv.Len*row*s.KVHeads)
	for h := range s.KVHeads {
		copy(k[h*kv.Len*row:(h+1)*kv.Len*row], kv.K[h*kv.Cap*row:])
		copy(v[h*kv.Len*row:(h+1)*kv.Len*row], kv.V[h*kv.Cap*row:])
	}
	return k, v
}

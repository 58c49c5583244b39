package tokenizer

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
)

const (
	cacheSlots   = 1 << 14
	cacheMaxWord = 48 // bytes; longer words seldom come again
)

// wordCache remembers the tokens of recent words. It is direct-mapped: a word has one slot, and the last
// one to hash there has it, so that the cache is bounded (under 8 MiB) and takes no lock.
type wordCache struct {
	seed  maphash.Seed
	slots [cacheSlots]atomic.Pointer[cachedWord]
}

// cachedWord is immutable once it is in a slot.
type cachedWord struct {
	word string
	ids  []int32
}

// get returns the tokens of word, or nil and the slot to put them in.
func (c *wordCache) get(word string) (ids []int32, slot uint64) {
	slot = maphash.String(c.seed, word) % cacheSlots
	if e := c.slots[slot].Load(); e != nil && e.word == word {
		return e.ids, slot
	}
	return nil, slot
}

// put copies word and ids, so that the cache keeps no caller's text alive.
func (c *wordCache) put(slot uint64, word string, ids []int32) {
	c.slots[slot].Store(&cachedWord{strings.Clone(word), append([]int32(nil), ids...)})
}

package resident

import (
	"testing"

	"github.com/orrery-ai/orrery/internal/offheap"
)

func TestMemoryThatIsWrittenIsResident(t *testing.T) {
	const size = 64 << 20
	before, err := Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b, err := offheap.Map(size)
	if err != nil {
		t.Fatal(err)
	}
	defer offheap.Unmap(b)
	for i := 0; i < size; i += 1 << 10 {
		b[i] = 1
	}
	after, err := Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if grown := after - before; grown < size*9/10 || grown > size*3/2 {
		t.Errorf("%d bytes were %d, after %d more were written", before, after, size)
	}
}

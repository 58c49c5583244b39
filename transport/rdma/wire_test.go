package rdma

import (
	"bytes"
	"errors"
	"testing"

	"github.com/orrery-ai/orrery/transport/verbs"
)

func FuzzHeader(f *testing.F) {
	b := make([]byte, headerBytes+4)
	header{length: 4, credits: 3, kind: kindData, seq: 7}.put(b)
	f.Add(b, headerBytes+4, false)
	header{kind: kindGoodbye, seq: 1}.put(b)
	f.Add(b, headerBytes, false)
	f.Add(b, headerBytes+4, true)
	f.Fuzz(func(t *testing.T, b []byte, bytes int, whole bool) {
		if len(b) < headerBytes {
			return // a slot is never smaller
		}
		h, err := parseHeader(b, bytes, whole)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Error(err)
			}
			return
		}
		if end := headerBytes + int(h.length); end > len(b) || end > bytes {
			t.Fatalf("%+v reaches beyond %d bytes", h, bytes)
		}
		again := make([]byte, headerBytes)
		h.put(again)
		if back, err := parseHeader(append(again, b[headerBytes:]...), bytes, whole); err != nil || back != h {
			t.Fatalf("%+v became %+v, %v", h, back, err)
		}
	})
}

func goodOffer() offer {
	return offer{
		step: stepOffer, service: verbs.Reliable, mtu: verbs.MTU4096, qp: 17, psn: 1<<24 - 1, slotBytes: reliable.slotBytes, slots: 8,
		gid: verbs.GID{15: 1},
	}
}

func FuzzOffer(f *testing.F) {
	f.Add(goodOffer().append(nil))
	f.Add(offer{step: stepOffer, reason: "no device"}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := readOffer(bytes.NewReader(b), stepOffer)
		if err != nil {
			return
		}
		if o.reason == "" && (o.slots < 1 || o.slotBytes < headerBytes || o.mtu.Bytes() == 0) {
			t.Fatalf("accepted %+v", o)
		}
		if back, err := readOffer(bytes.NewReader(o.append(nil)), stepOffer); err != nil || back != o {
			t.Fatalf("%+v became %+v, %v", o, back, err)
		}
	})
}

func TestOffersThatMakeNoSenseAreRefused(t *testing.T) {
	for what, change := range map[string]func(*offer){
		"step":    func(o *offer) { o.step = stepTried },
		"service": func(o *offer) { o.service = 9 },
		"mtu":     func(o *offer) { o.mtu = 0 },
		"qp":      func(o *offer) { o.qp = 1 << 24 },
		"psn":     func(o *offer) { o.psn = 1 << 24 },
		"slots":   func(o *offer) { o.slots = 0 },
		"many":    func(o *offer) { o.slots = maxSlots + 1 },
		"small":   func(o *offer) { o.slotBytes = headerBytes },
		"large":   func(o *offer) { o.slotBytes = 1 << 30 },
	} {
		o := goodOffer()
		change(&o)
		if _, err := readOffer(bytes.NewReader(o.append(nil)), stepOffer); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestBothEndsSeeAlikeWhetherTheirOffersFit(t *testing.T) {
	for what, change := range map[string]func(*offer){
		"service": func(o *offer) { o.service = verbs.Unreliable },
		"gid":     func(o *offer) { o.gid = verbs.GID{} },
	} {
		o, p := goodOffer(), goodOffer()
		change(&p)
		if why := o.fits(p); why == "" || why != p.fits(o) {
			t.Errorf("%s: one end says %q, the other %q", what, why, p.fits(o))
		}
	}
	o, p := goodOffer(), goodOffer()
	p.slotBytes, p.slots = 4096, 32
	if why := o.fits(p); why != "" {
		t.Errorf("reliable connections with other slots: %s", why)
	}
	o.gid, p.gid = verbs.GID{}, verbs.GID{}
	if o.fits(p) == "" {
		t.Error("ends without addresses fit")
	}
	o.lid, p.lid = 1, 2
	if why := o.fits(p); why != "" {
		t.Errorf("ends with LIDs: %s", why)
	}
}

package transport

import (
	"bufio"
	"bytes"
	"io"
	"testing"
)

// tapAll takes apart what one end sends.
func tapAll(t *testing.T, tap *Tap, sent []byte, back bool) []Unit {
	t.Helper()
	var units []Unit
	r := bufio.NewReader(bytes.NewReader(sent))
	for {
		u, err := tap.Next(r, back)
		if len(u.Bytes) > 0 {
			units = append(units, u)
		}
		if err == io.EOF {
			return units
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(u.Bytes) == 0 {
			t.Fatal("neither bytes nor an error")
		}
	}
}

// said is a hello, and frames after it, of the dialling end of a connection.
func said(features uint32) []byte {
	b := hello{version: helloVersion, kind: helloAsk, class: classSmall, cluster: "c", from: "a", to: "b", frameBytes: MinFrame, window: 1, features: features}.append(nil)
	for _, f := range [][]byte{
		frame(header{kind: frameOpen, lane: 1}, open{key: LaneKey{1, Partial}, max: 100}.append(nil)),
		frame(header{kind: frameData, lane: 1, flags: flagFirst | flagLast, total: 5}, []byte("hello")),
		frame(header{kind: frameEnvelope}, []byte("actor")),
		frame(header{kind: frameFinish, lane: 1}, nil),
	} {
		if features&featureSums != 0 {
			head := append(f[:headerBytes:headerBytes], make([]byte, sumBytes)...)
			putSums(head, addSum(0, f[headerBytes:]))
			f = append(head, f[headerBytes:]...)
		}
		b = append(b, f...)
	}
	return b
}

func TestATapTellsFramesApart(t *testing.T) {
	for _, features := range []uint32{0, featureSums} {
		units := tapAll(t, new(Tap), said(features), false)
		want := []Unit{{}, {Frame: true, Lane: 1, Purpose: Partial}, {Frame: true, Data: true, Lane: 1, Purpose: Partial},
			{Frame: true, Data: true, Purpose: Control}, {Frame: true, Lane: 1, Purpose: Partial}}
		if len(units) != len(want) {
			t.Fatalf("%d units, want %d", len(units), len(want))
		}
		for i, u := range units {
			u.Bytes = nil
			if u.Frame != want[i].Frame || u.Data != want[i].Data || u.Lane != want[i].Lane || u.Purpose != want[i].Purpose {
				t.Errorf("features %d, unit %d: %+v, want %+v", features, i, u, want[i])
			}
		}
	}
	secret := new(Tap)
	if tapAll(t, secret, []byte{0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3, 1, 2, 3}, false); !secret.Opaque() {
		t.Error("TLS is taken for frames")
	}
}

// FuzzTap checks that a tap passes on whatever comes as it was.
func FuzzTap(f *testing.F) {
	f.Add(said(0), false)
	f.Add(said(featureSums), true)
	f.Add(said(featureRDMA)[:70], false)
	f.Add([]byte{0x16, 3, 1, 0, 1}, true)
	f.Fuzz(func(t *testing.T, sent []byte, back bool) {
		var got []byte
		for _, u := range tapAll(t, new(Tap), sent, back) {
			got = append(got, u.Bytes...)
		}
		if !bytes.Equal(got, sent) {
			t.Errorf("%q became %q", sent, got)
		}
	})
}

// What the end that dialled says of shared memory is a byte between its hello and its frames. It comes after the other's hello.
func TestTapKnowsTheByteThatSaysWhereTheConnectionGoesOn(t *testing.T) {
	greeting := func(kind helloKind) []byte {
		return hello{version: helloVersion, kind: kind, class: classSmall, cluster: "c", from: "a", to: "b", frameBytes: MinFrame, window: 1, features: featureShared}.append(nil)
	}
	tap := new(Tap)
	way, there := io.Pipe()
	units := make(chan Unit, 3)
	go func() {
		defer close(units)
		r := bufio.NewReader(way)
		for {
			u, err := tap.Next(r, false)
			if err != nil {
				return
			}
			units <- u
		}
	}()
	there.Write(greeting(helloAsk))
	if u := <-units; u.Frame || len(u.Bytes) < helloPrefix {
		t.Fatalf("the hello comes as %+v", u)
	}
	if _, err := tap.Next(bufio.NewReader(bytes.NewReader(greeting(helloAccept))), true); err != nil {
		t.Fatal(err)
	}
	there.Write([]byte{stays})
	if u := <-units; u.Frame || len(u.Bytes) != 1 {
		t.Errorf("the byte comes as %+v", u)
	}
	there.Write(frame(header{kind: frameFinish, lane: 1}, nil))
	if u := <-units; !u.Frame || u.Lane != 1 {
		t.Errorf("the frame comes as %+v", u)
	}
	there.Close()
	<-units
}

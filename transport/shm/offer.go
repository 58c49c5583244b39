package shm

import (
	"crypto/rand"
	"errors"
	"fmt"
)

const (
	// SecretBytes is the size of a secret.
	SecretBytes = 16
	// OfferBytes is the size of an offer.
	OfferBytes = 3 * SecretBytes
	// MostRequest bounds what says which memory is asked for, in bytes.
	MostRequest = 64
)

// Secret is known to the two ends of one connection alone.
type Secret [SecretBytes]byte

// NewSecret is a random secret.
func NewSecret() (s Secret) {
	rand.Read(s[:])
	return s
}

// Offer is what a peer needs to ask for memory.
type Offer struct {
	Server Secret // name of the socket, which is no secret on its machine
	Ask    Secret // who asks begins with it
	Answer Secret // and who answers with this one
}

// Append appends the offer to b, as it travels.
func (o Offer) Append(b []byte) []byte {
	for _, s := range []Secret{o.Server, o.Ask, o.Answer} {
		b = append(b, s[:]...)
	}
	return b
}

// ParseOffer reads an offer.
func ParseOffer(b []byte) (o Offer, err error) {
	if len(b) != OfferBytes {
		return o, fmt.Errorf("an offer of shared memory of %d bytes, want %d", len(b), OfferBytes)
	}
	copy(o.Server[:], b)
	copy(o.Ask[:], b[SecretBytes:])
	copy(o.Answer[:], b[2*SecretBytes:])
	return o, nil
}

// ErrUnsupported says that there is no shared memory on this system.
var ErrUnsupported = errors.New("memory is not shared between processes on this system")

// ErrElsewhere says that the peer cannot be reached by way of the machine: it runs on another one, or apart from this process.
var ErrElsewhere = errors.New("the peer is on another machine")

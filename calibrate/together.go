package calibrate

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/transport"
)

const (
	// MaxTogether bounds the nodes of a machine that are measured together.
	MaxTogether = 16
	// SittingTime bounds a sitting, from when its seats have their memory.
	SittingTime = 12 * time.Second
	// SeatTime is how long it may take a node to have it.
	SeatTime = fillTime + LinkTime

	// SittingFor is how long a sitting may be that is to tell as much as it can, and SittingBriefly one that somebody waits for. What it has no time for is told from what it had.
	SittingFor     = 6 * time.Second
	SittingBriefly = 2 * time.Second

	// For how much of that, and how many rounds, caches may settle at one size. With all of it that is as long as a short answer takes. Whether they have settled is not looked for, as it may come slowly.
	settlePart    = 1. / 17
	settledRounds = 64

	apartSamples = 6        // of memory's speed
	apartBytes   = 32 << 20 // that each of them reads
	cacheSamples = 24       // of the caches'
)

// Chair is a node that sits, and the lanes to it, which go by ID as those of [MeasureLink] do.
type Chair struct {
	Peer string
	ID   uint64
}

// Sit has nodes of one machine read as the steps of decode have them do. Each reads its part of the weights in turn, and then its part of keys and values in turn, too, as in pipeline; and if
// they have processors of their own all of them read keys and values at once, until the last is done, as in pooled, and with one that reads all weights, as in ring. It measures how much longer
// memory takes than one of them alone with such keys and values as rates are measured with, and what the caches come to hold, by how much all of them read. Once this end is ready it calls invite,
// which must see to it that the nodes have made their seats. Within is [SittingFor] or [SittingBriefly].
func Sit(ctx context.Context, e *transport.Endpoint, chairs []Chair, l Layout, apart bool, within time.Duration, invite func(context.Context) error) (all []placement.Together, err error) {
	if len(chairs) < 1 || len(chairs) > MaxTogether {
		return nil, fmt.Errorf("%d nodes sit together: there may be 1 to %d", len(chairs), MaxTogether)
	}
	ctx, cancel := context.WithTimeout(ctx, SeatTime+SittingTime)
	defer cancel()
	s := sitting{weights: l.weights(len(chairs)), within: within}
	s.deadline, _ = ctx.Deadline()
	for _, c := range chairs {
		in, err := e.Receiver(c.Peer, probeLane(c.ID, true), seatBytes)
		if err != nil {
			return nil, err
		}
		defer in.Close()
		defer context.AfterFunc(ctx, in.Close)()
		s.in = append(s.in, in)
	}
	if err := invite(ctx); err != nil {
		return nil, err
	}
	for _, c := range chairs {
		out, err := e.Sender(c.Peer, probeLane(c.ID, false), seatBytes)
		if err != nil {
			return nil, err
		}
		defer out.Close()
		s.out = append(s.out, out)
	}
	return s.measure(apart)
}

// sitting is Sit under way.
type sitting struct {
	in       []*transport.Receiver
	out      []*transport.Sender
	weights  int // bytes of weights that each seat reads; 0: more than caches hold
	deadline time.Time
	within   time.Duration
	late     time.Time // from when on nothing more is measured
	at       int       // of the seats' memory, where what was attended to last ends
}

// A manner is an order in which all seats are told something of the same part of their memory. It gives what each of them said.
type manner func(verb byte, first, bytes int) ([]float64, error)

func (s *sitting) measure(apart bool) ([]placement.Together, error) {
	s.late = time.Now().Add(s.within)
	rooms, err := s.inTurn(sayRoom, 0, 0)
	if err != nil {
		return nil, err
	}
	room := int(slices.Min(rooms)) / pieceAlign * pieceAlign
	if room < leastArena {
		return nil, errors.New("there was no time to fill memory with keys and values")
	}
	var fast, slow reads
	// What counts as read from the caches is what takes no longer than that of which rates are measured: keys and values that lie as a model's do take longer, and so a little less of them does.
	if fast.keys, err = s.fromCaches(attendRate, min(room, cacheBytes)); err != nil {
		return nil, err
	}
	if s.weights > 0 {
		part := min(s.weights, cacheBytes)
		if fast.weights, err = s.fromCaches(multiply, part); err != nil {
			return nil, err
		}
		if slow.weights, err = s.weighed(part); err != nil {
			return nil, err
		}
	}
	all := make([]placement.Together, len(s.in))
	part := func() ([]float64, error) { return s.inTurn(multiply, 0, s.weights) }
	ways := []*way{{weigh: part, attend: s.inTurn, sharing: func(i int) *placement.Sharing { return &all[i].Turn }}}
	if apart {
		once := &way{weigh: part, attend: s.atOnce, sharing: func(i int) *placement.Sharing { return &all[i].Once }}
		ways = append(ways, once)
		if whole := s.weights * len(s.in); whole > 0 && whole <= weightsBytes {
			one := func() ([]float64, error) {
				said, err := s.ask(0, multiply, 0, whole)
				return slices.Repeat([]float64{said}, len(s.in)), err
			}
			ways = append(ways, &way{weigh: one, attend: s.atOnce, sharing: func(i int) *placement.Sharing { return &all[i].Ring }, beyond: once})
		}
	}
	for _, w := range ways {
		w.slow.weights = slow.weights
		if w.beyond != nil {
			w.slow = w.beyond.slow
			for i := range all {
				w.sharing(i).Slower = w.beyond.sharing(i).Slower
			}
		} else if err := s.fromMemory(w, min(room, apartBytes)); err != nil {
			return nil, err
		}
	}
	for i, bytes := range placement.TogetherKeys {
		if bytes == 0 && s.weights == 0 {
			bytes = placement.TogetherKeys[1] / 2 // something is read
		}
		keys := int(bytes) / len(s.in) / pieceAlign * pieceAlign
		for _, w := range ways {
			if keys > room || i > 0 && time.Now().After(s.late) {
				w.guess(i, len(s.in), (s.weights+keys)*len(s.in))
			} else if w.beyond != nil && bytes > mostBeside {
				w.follow(i, len(s.in))
			} else if err := s.settled(w, i, keys, room, fast); err != nil {
				return nil, err
			}
		}
	}
	for i := range all {
		if len(ways) == 2 {
			all[i].Ring = all[i].Once
		}
		for _, s := range []*placement.Sharing{&all[i].Turn, &all[i].Once, &all[i].Ring} {
			falling(s.Cached[:])
			falling(s.Weights[:])
		}
	}
	return all, nil
}

// way is how weights and keys and values are read, and what is measured of that.
type way struct {
	weigh   func() ([]float64, error)
	attend  manner
	sharing func(seat int) *placement.Sharing
	beyond  *way  // that it is like where there are more keys and values than mostBeside; nil if it is like none
	slow    reads // from memory
}

// mostBeside is beside how many bytes of keys and values it matters which nodes read the weights: caches hold little of them beside more.
const mostBeside = 32 << 20

// reads is what each seat takes for a byte, in seconds.
type reads struct {
	keys    []float64
	weights []float64 // nil if none are read
}

// guess has as much of so many bytes be there by chance as they are more than those before.
func (w *way) guess(i, seats, bytes int) {
	for seat := range seats {
		s := w.sharing(seat)
		s.Bytes[i] = float64(bytes)
		more := s.Bytes[i] / s.Bytes[i-1]
		s.Cached[i], s.Weights[i], s.Every[i] = s.Cached[i-1]/more, s.Weights[i-1]/more, s.Every[i-1]*more
	}
}

// follow has it be as in the way that it is like.
func (w *way) follow(i, seats int) {
	for seat := range seats {
		s, like := w.sharing(seat), w.beyond.sharing(seat)
		s.Bytes[i], s.Cached[i], s.Weights[i], s.Every[i] = like.Bytes[i], like.Cached[i], like.Weights[i], like.Every[i]
	}
}

// settled measures what each seat finds in the caches of weights, and of a part of its memory, when they have been read again and again until the caches hold of them what they will. What was
// attended to before is another part, or else it would be there already.
func (s *sitting) settled(w *way, at, part, room int, fast reads) error {
	if s.at+part > room {
		s.at = 0
	}
	first := s.at
	s.at += part
	keys, layers := make([][]float64, len(s.in)), make([][]float64, len(s.in))
	var rounds []float64
	for start := time.Now(); ; {
		began := time.Now()
		if s.weights > 0 {
			said, err := w.weigh()
			if err != nil {
				return err
			}
			gather(layers, said)
		}
		if part > 0 {
			said, err := w.attend(attendTo, first, part)
			if err != nil {
				return err
			}
			gather(keys, said)
		}
		rounds = append(rounds, time.Since(began).Seconds())
		if n := len(rounds); time.Now().After(s.late) || n >= fewPasses && time.Since(start).Seconds() > settlePart*s.within.Seconds() || n == settledRounds {
			last := n * 2 / 3
			for i := range s.in {
				sharing := w.sharing(i)
				sharing.Bytes[at], sharing.Every[at] = float64((s.weights+part)*len(s.in)), middle(rounds[last:])
				if part > 0 {
					sharing.Cached[at] = share(fast.keys[i], w.slow.keys[i], middle(keys[i][last:]))
					sharing.Weights[at] = sharing.Cached[at]
				}
				if s.weights > 0 {
					sharing.Weights[at] = share(fast.weights[i], w.slow.weights[i], middle(layers[i][last:]))
				}
				if part == 0 {
					sharing.Cached[at] = sharing.Weights[at]
				}
			}
			return nil
		}
	}
}

// gather adds what each seat said.
func gather(all [][]float64, said []float64) {
	for i, v := range said {
		all[i] = append(all[i], v)
	}
}

// weighed is how long each seat takes for a byte of weights that no cache holds.
func (s *sitting) weighed(bytes int) ([]float64, error) {
	slow := make([]float64, len(s.in))
	for i := range s.in {
		var all []float64
		for range apartSamples {
			if _, err := s.ask(i, forgetWeights, 0, bytes); err != nil {
				return nil, err
			}
			seconds, err := s.ask(i, multiply, 0, bytes)
			if err != nil {
				return nil, err
			}
			all = append(all, seconds)
		}
		slow[i] = middle(all)
	}
	return slow, nil
}

// fromMemory measures how long each seat takes for a byte that no cache holds, and how many times longer that is than alone and of such as rates are measured with.
func (s *sitting) fromMemory(w *way, bytes int) error {
	slow, factors := make([][]float64, len(s.in)), make([][]float64, len(s.in))
	for range apartSamples {
		alone := make([]float64, len(s.in))
		for i := range s.in {
			if _, err := s.ask(i, forgetPart, 0, bytes); err != nil {
				return err
			}
			var err error
			if alone[i], err = s.ask(i, attendRate, 0, bytes); err != nil {
				return err
			}
		}
		if _, err := w.attend(forgetPart, 0, bytes); err != nil {
			return err
		}
		said, err := w.attend(attendTo, 0, bytes)
		if err != nil {
			return err
		}
		for i, seconds := range said {
			slow[i] = append(slow[i], seconds)
			factors[i] = append(factors[i], seconds/alone[i])
		}
	}
	for i := range s.in {
		w.slow.keys = append(w.slow.keys, middle(slow[i]))
		w.sharing(i).Slower = max(middle(factors[i]), 1)
	}
	return nil
}

// fromCaches is how long each seat takes for a byte of so few that they stay in the caches, if it is told to do such a thing with them.
func (s *sitting) fromCaches(verb byte, bytes int) ([]float64, error) {
	fast := make([]float64, len(s.in))
	for i := range s.in {
		var all []float64
		for range cacheSamples {
			seconds, err := s.ask(i, verb, 0, bytes)
			if err != nil {
				return nil, err
			}
			all = append(all, seconds)
		}
		fast[i] = middle(all[cacheSamples/2:])
	}
	return fast, nil
}

// inTurn tells one seat after another.
func (s *sitting) inTurn(verb byte, first, bytes int) ([]float64, error) {
	said := make([]float64, len(s.in))
	for i := range s.in {
		var err error
		if said[i], err = s.ask(i, verb, first, bytes); err != nil {
			return nil, err
		}
	}
	return said, nil
}

// atOnce tells all seats, and then waits for them.
func (s *sitting) atOnce(verb byte, first, bytes int) ([]float64, error) {
	for i := range s.in {
		if err := s.tell(i, verb, first, bytes); err != nil {
			return nil, err
		}
	}
	said := make([]float64, len(s.in))
	for i := range s.in {
		var err error
		if said[i], err = s.hear(i); err != nil {
			return nil, err
		}
	}
	return said, nil
}

func (s *sitting) ask(seat int, verb byte, first, bytes int) (float64, error) {
	if err := s.tell(seat, verb, first, bytes); err != nil {
		return 0, err
	}
	return s.hear(seat)
}

func (s *sitting) tell(seat int, verb byte, first, bytes int) error {
	message := binary.LittleEndian.AppendUint64([]byte{verb}, uint64(first))
	return s.out[seat].Send(s.deadline, binary.LittleEndian.AppendUint64(message, uint64(bytes)))
}

func (s *sitting) hear(seat int) (float64, error) {
	m, err := s.in[seat].Receive(s.deadline)
	if err != nil {
		return 0, err
	}
	defer m.Release()
	if len(m.Bytes) != 8 {
		return 0, fmt.Errorf("a seat answers in %d bytes, not 8", len(m.Bytes))
	}
	said := math.Float64frombits(binary.LittleEndian.Uint64(m.Bytes))
	if !(said >= 0 && said <= math.MaxInt) {
		return 0, fmt.Errorf("a seat says %v", said)
	}
	return said, nil
}

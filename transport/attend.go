package transport

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Whoever waits for a message can read the connection himself: he attends to the link. So the one whom the
// message is for is running, or is woken by the kernel, when it comes, and nobody has to wake him. While
// nobody attends the endpoint's poller reads, and wakes through channels who has waited for longer than
// attendFor, or found that somebody else attends.
//
// One attends to a link at a time, and then only he reads it. With [Fast] he spins, and whoever comes later
// takes his place: who came last is the likeliest to get the next message. Of a whole endpoint only one spins, and
// he stops when somebody else gets a message, who is going to compute: he would take the core from him. Meanwhile he
// does the poller's work, which may have to run on that core, too. With [Safe] he waits in the
// kernel, and keeps his place. He does so with his thread, which is cheaper than to have the goroutine
// woken; but a thread in a system call keeps one of the runtime's processors, so that only some may.

const (
	// attendFor is how long somebody attends. A message that takes longer is hardly delayed, in proportion,
	// by the waking of a thread: that is 0.1 ms where the core of a virtual machine sleeps.
	attendFor = 2 * time.Millisecond
	// readsPerLook is how often a socket is tried between two looks at the clock.
	readsPerLook = 8
)

// holders is how many goroutines of this process wait with their threads.
var holders atomic.Int32

// mayHold is how many may: half of the runtime's processors, so that the others find one at once. The
// runtime takes a processor away from a system call if nobody else has one to spare, and wakes threads for
// that which cost more than all that was saved. With coarse timers nobody may: a thread of the runtime's naps
// for 3 µs before it takes over a goroutine that one who holds has left behind, such as the one whom the last
// message was for, and then that nap is as long as timers are late.
func mayHold() int32 {
	if coarseTimers() {
		return 0
	}
	return int32(runtime.GOMAXPROCS(0) / 2)
}

// waiter is what somebody attends to a link for.
type waiter interface {
	// satisfied says that there is nothing to wait for any more.
	satisfied() bool
}

// attendance is who reads a link whose socket is detached.
type attendance struct {
	reading sync.Mutex    // held while frames are read
	place   atomic.Uint64 // number of the one who attends; 0 if nobody does

	mu      sync.Mutex
	last    uint64       // number given out last
	keeps   bool         // who attends keeps his place
	parked  atomic.Int32 // how many wait for the poller to read; changes under mu
	linger  *time.Timer
	lingers uint64   // last when the timer was set; 0 if it is not
	idle    interest // of the poller, if nobody attends or is parked
	watched interest // of the poller, once it is
	begun   bool     // the poller knows the link
}

// attend reads the link until w is satisfied, its time is at its end, somebody else takes the place, or the
// link fails. It returns at once if there is no use in it.
func (l *link) attend(w waiter, deadline time.Time) {
	if l.sock == nil {
		return
	}
	now := time.Now()
	fast := l.class == classSmall && l.e.fast(now)
	if !fast {
		defer holders.Add(-1)
		if holders.Add(1) > l.e.mayHold {
			return
		}
	}
	place := l.takePlace(!fast)
	if place == 0 {
		return
	}
	defer l.leavePlace(place)
	end := now.Add(attendFor)
	if deadline.Before(end) {
		end = deadline
	}
	if fast {
		turn := l.e.turn.Add(1)
		l.e.spins.spin(now, end, readsPerLook, func() bool { return !l.readAs(place, w) || l.e.turn.Load() != turn }, l.poller.glance)
		return
	}
	for more, left := l.tidy(w), attendFor; more && left > 0; more = l.readAs(place, w) {
		left = time.Until(end)
		l.sock.awaitInput(max(left, 0))
	}
}

// tidy does what there is time for before a wait. It says whether w has to wait: the poller may just have
// read what w waits for.
func (l *link) tidy(w waiter) bool {
	l.at.reading.Lock()
	defer l.at.reading.Unlock()
	if w.satisfied() {
		return false
	}
	if err := l.handler.dry(); err != nil {
		l.fail(err, false)
		return false
	}
	return true
}

// readAs reads what is there, as the one who has the place. It says whether there is more to wait for.
func (l *link) readAs(place uint64, w waiter) bool {
	l.at.reading.Lock()
	if l.at.place.Load() != place {
		l.at.reading.Unlock()
		return false
	}
	err := l.readSome(w)
	more := !w.satisfied()
	if more && err == errNotYet {
		if failed := l.handler.dry(); failed != nil {
			err = failed
		}
	}
	l.at.reading.Unlock()
	if err != errNotYet {
		l.fail(err, false)
		return false
	}
	return more
}

// readIdle reads what is there if nobody attends.
func (l *link) readIdle(w waiter) {
	l.at.reading.Lock()
	err := error(errNotYet)
	if l.at.place.Load() == 0 {
		err = l.readSome(w)
	}
	l.at.reading.Unlock()
	if err != errNotYet {
		l.fail(err, false)
	}
}

// readSome hands out the frames that have come. When w is satisfied it takes no more from the socket, and
// stops when those that had been taken are handed out: what is left wakes the poller.
func (l *link) readSome(w waiter) error {
	quiet := w.satisfied()
	l.sock.hush(quiet)
	if _, ok := l.nc.(*secured); ok && !quiet && !l.sock.awaitInput(0) {
		return errNotYet // TLS would find out too, but allocates
	}
	defer l.sock.hush(false)
	for {
		if err := l.frames.next(l.handler); err != nil {
			return err
		}
		if w.satisfied() {
			l.sock.hush(true)
		}
	}
}

// takePlace gives the number of the place at the link; 0 if it belongs to one who keeps it.
func (l *link) takePlace(keep bool) uint64 {
	a := &l.at
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.place.Load() != 0 && a.keeps {
		return 0
	}
	a.last++
	a.keeps = keep
	a.place.Store(a.last)
	l.watch()
	return a.last
}

func (l *link) leavePlace(place uint64) {
	a := &l.at
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.place.Load() != place {
		return
	}
	a.place.Store(0)
	if a.parked.Load() == 0 && a.idle == watchInput {
		l.lingerOn()
	} else {
		l.watch()
	}
}

// lingerOn leaves the link to nobody for a while, because who has left is likely to come back: were the
// poller told each time, it would be woken for messages that come just before. If anybody waits for another
// lane the poller is told at once.
func (l *link) lingerOn() {
	a := &l.at
	switch {
	case a.lingers != 0:
		return // the timer finds out
	case a.linger == nil:
		a.linger = time.AfterFunc(attendFor, l.lingered)
	default:
		a.linger.Reset(attendFor)
	}
	a.lingers = a.last
}

// lingered gives the link to the poller, if nobody came back.
func (l *link) lingered() {
	a := &l.at
	a.mu.Lock()
	defer a.mu.Unlock()
	back := a.last != a.lingers
	a.lingers = 0
	switch {
	case a.place.Load() != 0:
	case back:
		l.lingerOn()
	default:
		l.watch()
	}
}

// park says that somebody waits who does not attend, until unpark.
func (l *link) park() { l.addParked(1) }

func (l *link) unpark() { l.addParked(-1) }

func (l *link) addParked(n int32) {
	if l.sock == nil {
		return
	}
	l.at.mu.Lock()
	defer l.at.mu.Unlock()
	l.at.parked.Add(n)
	l.watch()
}

// beginWatch makes the link known to the poller.
func (l *link) beginWatch() error {
	a := &l.at
	a.mu.Lock()
	defer a.mu.Unlock()
	a.begun, a.watched = true, watchNothing
	if err := l.sock.join(l.poller, l); err != nil {
		return err
	}
	l.watch()
	return nil
}

// watch tells the poller what to watch the link for now. A failure, which is one of memory, ends the link.
func (l *link) watch() {
	a := &l.at
	want := a.idle
	if a.place.Load() != 0 {
		want = watchNothing
	} else if a.parked.Load() > 0 {
		want = watchInput
	}
	if want == a.watched || !a.begun {
		return
	}
	a.watched = want
	if err := l.sock.watch(l.poller, want); err != nil {
		l.fail(err, false)
	}
}

// polled is the poller's: something has happened at a descriptor of the link's.
func (l *link) polled(fd int, some *quota) {
	l.sock.woken(l.poller, fd)
	l.readIdle(some)
	l.at.mu.Lock()
	defer l.at.mu.Unlock()
	l.sock.looked(l.at.watched)
}

package simulate

// activity is something that takes time: computing, a message under way, bytes through a port. It begins
// when its cause ends.
type activity struct {
	cause     int32   // index of another activity; none at the beginning of the trace
	part      Part    // of what it takes in itself:
	seconds   float64 //
	straggled float64 // and because its node is slow
	jitter    float64 // and by chance
}

const none int32 = -1

// trace is what has happened, so that the way to an event can be followed back. What decided when it
// happened is its chain of causes: the critical path.
type trace struct {
	on         bool
	activities []activity
}

func (t *trace) add(a activity) int32 {
	if !t.on {
		return none
	}
	t.activities = append(t.activities, a)
	return int32(len(t.activities) - 1)
}

// settle adds the critical path to an activity to parts, and begins a new trace.
func (t *trace) settle(last int32, parts *Parts) {
	for i := last; i != none; {
		a := &t.activities[i]
		parts[a.part] += a.seconds
		parts[Stragglers] += a.straggled
		parts[Jitter] += a.jitter
		i = a.cause
	}
	t.activities = t.activities[:0]
}

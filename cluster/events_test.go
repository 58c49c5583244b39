package cluster

import (
	"fmt"
	"strings"
	"testing"
)

// told drains the events that are due, as "kind name/memory".
func told(m *Membership) string {
	var s []string
	for {
		e, ok := m.nextEvent()
		if !ok {
			return strings.Join(s, ", ")
		}
		s = append(s, fmt.Sprintf("%s %s/%d", e.Kind, e.Node.Name, e.Node.Memory))
	}
}

func TestEventsAreCoalescedButNoDeathIsHidden(t *testing.T) {
	m := &Membership{members: map[string]*member{}, wake: make(chan struct{}, 1)}
	set := func(name string, f func(*member)) {
		p := m.members[name]
		if p == nil {
			p = &member{node: Node{Name: name}}
			m.members[name] = p
		}
		f(p)
		m.changed(p)
	}
	up := func(p *member) { p.alive = true; p.life++ }
	down := func(k EventKind) func(*member) { return func(p *member) { p.alive = false; p.end = k } }
	memory := func(n int64) func(*member) { return func(p *member) { p.node.Memory = n } }
	check := func(want string) {
		t.Helper()
		if got := told(m); got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	}

	set("a", up)
	set("b", up)
	set("a", memory(1))
	check("joined a/1, joined b/0")

	set("a", memory(2))
	set("a", memory(3))
	check("updated a/3")

	set("a", memory(4))
	set("a", memory(3))
	check("")

	set("a", down(Lost))
	set("b", down(Left))
	set("a", up)
	set("a", memory(5))
	check("lost a/3, left b/0, joined a/5")

	set("b", up)
	set("b", down(Lost))
	check("")
	if len(m.members) != 1 {
		t.Errorf("%d members are kept, want a alone", len(m.members))
	}
}

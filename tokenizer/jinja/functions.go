package jinja

// globals are what every template can call.
var globals = []binding{
	{"range", &function{"range", rangeOf}},
	{"namespace", &function{"namespace", func(r *run, a arguments) any {
		n := &namespace{map[string]any{}}
		for _, e := range keyed(r, a).entries {
			n.vars[e.key.(string)] = e.value
		}
		return n
	}}},
	{"dict", &function{"dict", func(r *run, a arguments) any { return keyed(r, a) }}},
}

// keyed is named arguments as a mapping, behind those of a mapping that may be given too.
func keyed(r *run, a arguments) *dict {
	d := newDict(len(a.named))
	if len(a.list) > 1 {
		fail("%d arguments, the most are 1", len(a.list))
	}
	if len(a.list) == 1 {
		from, ok := a.list[0].(*dict)
		if !ok {
			fail("%s is not a mapping", typeName(a.list[0]))
		}
		r.spendTimes(len(from.entries), entryCost)
		for _, e := range from.entries {
			if _, ok := e.key.(string); !ok {
				fail("%s cannot be the name of a variable", typeName(e.key))
			}
			d.set(e.key, e.value)
		}
	}
	r.spendTimes(len(a.named), entryCost)
	for _, n := range a.named {
		d.set(n.name, n.value)
	}
	return d
}

// rangeOf is range: a list of numbers.
func rangeOf(r *run, a arguments) any {
	if n := len(a.list); n < 1 || n > 3 || len(a.named) > 0 {
		fail("range: %d arguments, want 1 to 3", n)
	}
	bounds := [3]int{0, 0, 1} // start, stop, step
	for i := range a.list {
		to := &bounds[i]
		if len(a.list) == 1 {
			to = &bounds[1]
		}
		*to = or(&a.list[i], 0)
	}
	start, stop, step := bounds[0], bounds[1], bounds[2]
	if step == 0 {
		fail("range: the step is 0")
	}
	up := step > 0
	l := &list{}
	for i := start; up && i < stop || !up && i > stop; {
		r.spend(itemCost)
		l.items = append(l.items, i)
		next := i + step
		if next > i != up { // beyond the largest number
			break
		}
		i = next
	}
	return l
}

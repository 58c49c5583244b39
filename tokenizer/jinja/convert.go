package jinja

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// FromGo converts a variable: nil, bool, int, float64, string, and lists and maps of these. What is JSON keeps the order of its keys; a
// Go map is taken in the order of its keys. What has been converted stays as it is.
func FromGo(v any) (any, error) {
	switch v := v.(type) {
	case nil, bool, int, float64, string, *list, *dict, undefined, *namespace, *function, *loop:
		return v, nil
	case json.RawMessage:
		if err := json.Unmarshal(v, new(json.RawMessage)); err != nil { // one value, nested no deeper than encoding/json allows
			return nil, err
		}
		d := json.NewDecoder(bytes.NewReader(v))
		d.UseNumber()
		return orderedJSON(d)
	case map[string]any:
		d := newDict(len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			value, err := FromGo(v[k])
			if err != nil {
				return nil, err
			}
			d.set(k, value)
		}
		return d, nil
	case []any:
		return fromSlice(v)
	case []json.RawMessage:
		return fromSlice(v)
	}
	return nil, fmt.Errorf("a %T cannot be handed to a template", v)
}

func fromSlice[T any](items []T) (any, error) {
	l := &list{items: make([]any, len(items))}
	for i := range items {
		var err error
		if l.items[i], err = FromGo(items[i]); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// Record is a mapping of keys to values of the same number, in their order.
func Record(keys []string, values ...any) any {
	d := newDict(len(keys))
	for i, k := range keys {
		d.set(k, values[i])
	}
	return d
}

// orderedJSON reads the next value, keeping the order of keys. Its tokens alone have no bound on how deep they nest.
func orderedJSON(d *json.Decoder) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Number:
		if i, err := t.Int64(); err == nil && !strings.ContainsAny(t.String(), ".eE") {
			return int(i), nil
		}
		return t.Float64()
	case json.Delim:
		if t == '[' {
			l := &list{}
			for d.More() {
				v, err := orderedJSON(d)
				if err != nil {
					return nil, err
				}
				l.items = append(l.items, v)
			}
			_, err := d.Token()
			return l, err
		}
		m := newDict(0)
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := orderedJSON(d)
			if err != nil {
				return nil, err
			}
			m.set(key.(string), v)
		}
		_, err := d.Token()
		return m, err
	}
	return token, nil
}

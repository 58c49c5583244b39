package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/exec"
)

// Values that templates see. Mappings are exec.Dict, which keeps the order of its keys; the library's own
// methods of mappings sort them.

// list is a list in which an index may count from the end. (The library's own does not find the first item
// of a list as [-1] of one, [-2] of two and so on.)
type list []any

// GetItem is called for list[key].
func (l list) GetItem(key any) (*exec.Value, bool) {
	i, ok := key.(int)
	if !ok {
		return exec.AsValue(nil), false
	}
	if i < 0 {
		i += len(l)
	}
	if i < 0 || i >= len(l) {
		return exec.AsValue(nil), false
	}
	return exec.ToValue(l[i]), true
}

func dictOf(keys []string, values []any) *exec.Dict {
	d := exec.NewDict()
	for i, k := range keys {
		d.Pairs = append(d.Pairs, &exec.Pair{Key: exec.AsValue(k), Value: exec.AsValue(values[i])})
	}
	return d
}

// toTemplate converts a variable: what is JSON becomes lists and mappings in the order it was written,
// a Go map a mapping in the order of its keys.
func toTemplate(v any) (any, error) {
	switch v := v.(type) {
	case json.RawMessage:
		if err := json.Unmarshal(v, new(json.RawMessage)); err != nil { // one value, nested no deeper than encoding/json allows
			return nil, err
		}
		d := json.NewDecoder(bytes.NewReader(v))
		d.UseNumber()
		return orderedJSON(d)
	case map[string]any:
		var values []any
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			value, err := toTemplate(v[k])
			if err != nil {
				return nil, err
			}
			values = append(values, value)
		}
		return dictOf(keys, values), nil
	case []any:
		items := make(list, len(v))
		for i := range v {
			var err error
			if items[i], err = toTemplate(v[i]); err != nil {
				return nil, err
			}
		}
		return items, nil
	case []json.RawMessage:
		items := make(list, len(v))
		for i := range v {
			var err error
			if items[i], err = toTemplate(v[i]); err != nil {
				return nil, err
			}
		}
		return items, nil
	}
	return v, nil
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
			items := list{}
			for d.More() {
				v, err := orderedJSON(d)
				if err != nil {
					return nil, err
				}
				items = append(items, v)
			}
			_, err := d.Token()
			return items, err
		}
		var keys []string
		var values []any
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := orderedJSON(d)
			if err != nil {
				return nil, err
			}
			keys, values = append(keys, key.(string)), append(values, v)
		}
		_, err := d.Token()
		return dictOf(keys, values), err
	}
	return token, nil
}

func newDict(_ *exec.Evaluator, args *exec.VarArgs) (*exec.Dict, error) {
	if len(args.Args) > 0 {
		return nil, errors.New("dict: only keyword arguments are supported")
	}
	d := exec.NewDict()
	for _, k := range sortedKeys(args.KwArgs) {
		d.Pairs = append(d.Pairs, &exec.Pair{Key: exec.AsValue(k), Value: args.KwArgs[k]})
	}
	return d, nil
}

func sortedKeys(m map[string]*exec.Value) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// pairs are the entries of a mapping, in order.
func pairs(v *exec.Value) []*exec.Pair {
	if d, ok := v.Interface().(*exec.Dict); ok {
		return d.Pairs
	}
	var entries []*exec.Pair
	for _, key := range v.Keys() {
		value, _ := v.GetItem(key.Interface())
		entries = append(entries, &exec.Pair{Key: key, Value: value})
	}
	return entries
}

// itemsOf is a list of (key, value) pairs.
func itemsOf(v *exec.Value) list {
	items := list{}
	for _, p := range pairs(v) {
		items = append(items, []any{p.Key.Interface(), p.Value.Interface()})
	}
	return items
}

// filterList is the library's filter, giving a list of ours.
func filterList(e *exec.Evaluator, in *exec.Value, args *exec.VarArgs) *exec.Value {
	library, _ := builtins.Filters.Get("list")
	v := library(e, in, args)
	if !v.IsList() {
		return v
	}
	items := make(list, v.Len())
	for i := range items {
		items[i] = v.Index(i).Interface()
	}
	return exec.AsValue(items)
}

func filterItems(_ *exec.Evaluator, in *exec.Value, _ *exec.VarArgs) *exec.Value {
	if !in.IsDict() {
		return exec.AsValue(fmt.Errorf("items: not a mapping: %s", in.String()))
	}
	return exec.AsValue(itemsOf(in))
}

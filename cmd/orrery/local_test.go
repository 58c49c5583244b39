package main

import (
	"reflect"
	"testing"
)

func TestNodesOfOneMachineKeepApart(t *testing.T) {
	for _, c := range []struct {
		nodes, threads int
		available      []int
		want           []cpusFlag
	}{
		{2, 1, []int{0, 1}, []cpusFlag{{0}, {1}}},
		{2, 1, []int{4, 6, 7}, []cpusFlag{{4}, {6}}},
		{3, 1, []int{4, 6}, nil},
		{2, 2, []int{0, 1, 2, 3, 4}, []cpusFlag{{0, 1}, {2, 3}}},
		{3, 2, []int{0, 1, 2, 3, 4}, nil},
		{1, 1, []int{0, 1}, []cpusFlag{{0}}},
		{2, 2, []int{0, 1}, nil}, // each has all
		{2, 1, []int{7}, nil},
		{2, 1, nil, nil}, // the system does not let them
	} {
		if got := keepApart(c.nodes, c.threads, c.available); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%d nodes of %d threads on %v keep to %v, want %v", c.nodes, c.threads, c.available, got, c.want)
		}
	}
}

func TestProcessorsAreGivenByTheirNumbers(t *testing.T) {
	var c cpusFlag
	if err := c.UnmarshalText([]byte("0,12,3")); err != nil || c.String() != "0,12,3" {
		t.Errorf("%v, %v", c, err)
	}
	for _, bad := range []string{"", "1,", "-1", "a", "1-2", "99999"} {
		if c.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q is %v", bad, c)
		}
	}
}

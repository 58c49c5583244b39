package simulate

// Star is the arity of an exchange in which the owner sends its queries to every holder and merges all
// partial results itself.
const Star = 0

// tree is the shape of an exchange among members 0..n-1, of which 0 is the owner: a heap-ordered tree, in
// which member m has members arity·m+1 .. arity·m+arity for children. Star has all others as children of 0.
type tree struct{ arity, members int }

func shape(arity, members int) tree {
	if arity == Star {
		arity = max(members-1, 1)
	}
	return tree{arity, members}
}

// parent of a member other than 0.
func (t tree) parent(m int32) int32 { return (m - 1) / int32(t.arity) }

// children are members first..end-1.
func (t tree) children(m int32) (first, end int32) {
	first = min(m*int32(t.arity)+1, int32(t.members))
	return first, min(first+int32(t.arity), int32(t.members))
}

// arities are the trees worth trying for so many members. With more children than these a tree is the star.
func arities(members int) []int {
	var list []int
	for _, k := range []int{2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64} {
		if k == 2 || k < members-1 {
			list = append(list, k)
		}
	}
	return list
}

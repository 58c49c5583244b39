package bench

import "slices"

// curves is what a picture shows, on its way.
type curves []Curve

// add adds a point to the curve of that name, which is made if it is not there.
func (cs *curves) add(name string, p Point) {
	i := slices.IndexFunc(*cs, func(c Curve) bool { return c.Name == name })
	if i < 0 {
		i = len(*cs)
		*cs = append(*cs, Curve{Name: name})
	}
	(*cs)[i].Points = append((*cs)[i].Points, p)
}

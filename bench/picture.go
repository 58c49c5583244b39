package bench

import (
	"errors"
	"image/color"
	"io"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Picture is a speed over depth.
type Picture struct {
	Title  string
	Unit   string // of the speed
	Curves []Curve
}

// Curve is one line of a picture.
type Curve struct {
	Name   string
	Points []Point
}

// Point is what was measured at a depth.
type Point struct {
	Depth     int
	Speed     Spread
	Predicted float64 // 0: it was not predicted
}

// Draw writes the picture: of each curve the median runs joined by a line, and the slowest and the fastest as bars. What
// was predicted is dotted. The format is "svg" or "png".
func (pic *Picture) Draw(w io.Writer, format string) error {
	if len(pic.Curves) == 0 {
		return errors.New("nothing was measured: there is nothing to draw")
	}
	p := plot.New()
	p.Title.Text = pic.Title
	p.Title.Padding = vg.Points(8)
	p.X.Label.Text, p.Y.Label.Text = "tokens in the cache, thousands", pic.Unit
	p.Y.Min = 0
	p.Add(plotter.NewGrid())
	p.Legend.Top = true
	p.Legend.Padding = vg.Points(3)
	for i, c := range pic.Curves {
		if err := c.addTo(p, i); err != nil {
			return err
		}
	}
	p.X.Min = 0
	to, err := p.WriterTo(18*vg.Centimeter, 11*vg.Centimeter, format)
	if err != nil {
		return err
	}
	_, err = to.WriteTo(w)
	return err
}

// withErrors is points with their errors as plotter takes them.
type withErrors struct {
	plotter.XYs
	plotter.YErrors
}

func (c *Curve) addTo(p *plot.Plot, i int) error {
	var measured withErrors
	var predicted plotter.XYs
	for _, d := range c.Points {
		x := float64(d.Depth) / 1000
		measured.XYs = append(measured.XYs, plotter.XY{X: x, Y: d.Speed.Median})
		measured.YErrors = append(measured.YErrors, struct{ Low, High float64 }{d.Speed.Median - d.Speed.Min, d.Speed.Max - d.Speed.Median})
		if d.Predicted > 0 {
			predicted = append(predicted, plotter.XY{X: x, Y: d.Predicted})
		}
	}
	ink := palette[i%len(palette)]
	line, points, err := plotter.NewLinePoints(measured.XYs)
	if err != nil {
		return err
	}
	bars, err := plotter.NewYErrorBars(measured)
	if err != nil {
		return err
	}
	line.Width, line.Color = vg.Points(2), ink
	points.GlyphStyle = draw.GlyphStyle{Color: ink, Radius: vg.Points(3), Shape: shapes[i%len(shapes)]}
	bars.LineStyle.Color = ink
	p.Add(line, points, bars)
	p.Legend.Add(c.Name, line, points)
	if len(predicted) == 0 {
		return nil
	}
	dotted, err := plotter.NewLine(predicted)
	if err != nil {
		return err
	}
	dotted.Color, dotted.Dashes = ink, []vg.Length{vg.Points(2), vg.Points(3)}
	p.Add(dotted)
	p.Legend.Add(c.Name+", predicted", dotted)
	return nil
}

// Curves are told apart without colours too.
var (
	palette = []color.Color{color.RGBA{0xc0, 0x39, 0x2b, 0xff}, color.RGBA{0x1f, 0x6f, 0xb4, 0xff}, color.RGBA{0x2e, 0x8b, 0x57, 0xff}, color.RGBA{0x8e, 0x44, 0xad, 0xff}, color.RGBA{0x7f, 0x6a, 0x1e, 0xff}}
	shapes  = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.SquareGlyph{}, draw.TriangleGlyph{}, draw.PlusGlyph{}}
)

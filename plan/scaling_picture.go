package plan

import (
	"errors"
	"fmt"
	"image/color"
	"io"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Draw writes a picture of decode speed over the number of nodes: a curve for each series, with a ring where
// it stops scaling, and thin lines of what would be linear. Both axes are logarithmic. The format is "svg" or
// "png".
func (s *Scaling) Draw(w io.Writer, format string) error {
	if !s.Fits() {
		return errors.New(s.Model + " fits nowhere: there is nothing to draw")
	}
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%s, weights %v, KV %v, %s: decode over nodes", s.Model, s.Weights, s.KV, s.Link)
	p.Title.Padding = vg.Points(8)
	p.X.Label.Text, p.Y.Label.Text = "nodes", "tokens/s"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = doublings{}, plot.LogTicks{Prec: -1}
	p.Add(plotter.NewGrid())
	p.Legend.Left = true
	p.Legend.Padding = vg.Points(3)
	contexts := 0
	for i, series := range s.Series {
		if i == 0 || series.Context != s.Series[i-1].Context {
			contexts++
		}
		if len(series.Points) == 0 {
			continue
		}
		if err := drawSeries(p, &series, contexts-1); err != nil {
			return err
		}
	}
	p.Y.Min, p.Y.Max = math.Pow(10, math.Floor(math.Log10(p.Y.Min))), math.Pow(10, math.Ceil(math.Log10(p.Y.Max)))
	if p.X.Min == p.X.Max { // a logarithmic axis needs two ends
		p.X.Min, p.X.Max = p.X.Min/2, 2*p.X.Max
	}
	p.X.Max *= 1.06 // room for the last label
	for _, series := range s.Series {
		if err := drawLinear(p, &series); err != nil {
			return err
		}
	}
	to, err := p.WriterTo(18*vg.Centimeter, 12*vg.Centimeter, format)
	if err != nil {
		return err
	}
	_, err = to.WriteTo(w)
	return err
}

// drawSeries adds a curve: modes and exchanges differ in colour and dashes, contexts in width.
func drawSeries(p *plot.Plot, s *Series, context int) error {
	var xy plotter.XYs
	for _, at := range s.Points {
		xy = append(xy, plotter.XY{X: float64(at.Nodes), Y: at.Decode})
	}
	line, err := plotter.NewLine(xy)
	if err != nil {
		return err
	}
	look := looks[s.Mode+s.Exchange]
	line.Color, line.Dashes, line.Width = palette[look.mode], dashes[look.dashes], vg.Points(2.4/float64(context+1))
	p.Add(line)
	name := s.Mode
	if s.Exchange != "" {
		name += ", " + s.Exchange
	}
	p.Legend.Add(fmt.Sprintf("%s, %d tokens", name, s.Context), line)
	for _, at := range s.Points {
		if at.Nodes != s.Verdict.Stops {
			continue
		}
		mark, err := plotter.NewScatter(plotter.XYs{{X: float64(at.Nodes), Y: at.Decode}})
		if err != nil {
			return err
		}
		mark.GlyphStyle = draw.GlyphStyle{Color: color.Black, Radius: vg.Points(3.5), Shape: draw.RingGlyph{}}
		p.Add(mark)
	}
	return nil
}

// drawLinear adds what a series would be if speed grew with the number of nodes, as far as there is room. Modes
// begin alike, so only those with a star have such a line.
func drawLinear(p *plot.Plot, s *Series) error {
	if s.Exchange != star || len(s.Points) == 0 {
		return nil
	}
	first := s.Points[0]
	most := min(p.X.Max, float64(first.Nodes)*p.Y.Max/first.Decode)
	line, err := plotter.NewLine(plotter.XYs{{X: float64(first.Nodes), Y: first.Decode}, {X: most, Y: first.Decode * most / float64(first.Nodes)}})
	if err != nil {
		return err
	}
	line.Color, line.Width = color.Gray{0x99}, vg.Points(0.7)
	p.Add(line)
	return nil
}

// looks is the colour of a mode and the dashes of an exchange.
var looks = map[string]struct{ mode, dashes int }{
	"pipeline": {0, 0}, "pooledstar": {1, 0}, "pooledtree": {1, 1}, "ringstar": {2, 0}, "ringtree": {2, 1},
}

// doublings are ticks at powers of two.
type doublings struct{}

// Ticks are the powers of two of an axis.
func (doublings) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for v := math.Exp2(math.Ceil(math.Log2(low))); v <= high; v *= 2 {
		ticks = append(ticks, plot.Tick{Value: v, Label: fmt.Sprintf("%.0f", v)})
	}
	return ticks
}

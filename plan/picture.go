package plan

import (
	"fmt"
	"image/color"
	"io"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Draw writes a picture of decode speed over context, a curve for each mode that fits, with the
// crossovers marked. The format is "svg" or "png".
func (r *Report) Draw(w io.Writer, format string) error {
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%s, weights %v, KV %v: decode over context", r.Model, r.Weights, r.KV)
	if r.Sequences > 1 {
		p.Title.Text += fmt.Sprintf(", %d sequences", r.Sequences)
	}
	p.Title.Padding = vg.Points(8)
	p.X.Label.Text, p.Y.Label.Text = "context, thousands of tokens", "tokens/s"
	p.X.Min, p.X.Max, p.Y.Min = 0, 1.03*float64(r.Context)/1000, 0
	p.Add(plotter.NewGrid())
	p.Legend.Top = true
	p.Legend.Padding = vg.Points(3)
	curves := 0
	for i, m := range r.Modes {
		if !m.Fits {
			continue
		}
		curves++
		line, err := plotter.NewLine(m.curve(r.Context, r.Sequences))
		if err != nil {
			return err
		}
		line.Width, line.Color, line.Dashes = vg.Points(2), palette[i], dashes[i]
		p.Add(line)
		p.Legend.Add(m.Mode, line)
	}
	if curves == 0 {
		return fmt.Errorf("%s fits in no mode: there is nothing to draw", r.Model)
	}
	for _, c := range r.Crossovers {
		if !c.Within || c.Context == 0 {
			continue
		}
		for _, m := range r.Modes {
			if m.Mode != c.To {
				continue
			}
			mark, err := plotter.NewScatter(plotter.XYs{{X: float64(c.Context) / 1000, Y: m.rate(c.Context, r.Sequences)}})
			if err != nil {
				return err
			}
			mark.GlyphStyle = draw.GlyphStyle{Color: color.Black, Radius: vg.Points(3.5), Shape: draw.RingGlyph{}}
			p.Add(mark)
			p.Legend.Add(fmt.Sprintf("%s = %s at %d", c.From, c.To, c.Context), mark)
		}
	}
	to, err := p.WriterTo(18*vg.Centimeter, 11*vg.Centimeter, format)
	if err != nil {
		return err
	}
	_, err = to.WriteTo(w)
	return err
}

// By mode: told apart without colours too.
var (
	palette = []color.Color{color.RGBA{0xc0, 0x39, 0x2b, 0xff}, color.RGBA{0x1f, 0x6f, 0xb4, 0xff}, color.RGBA{0x2e, 0x8b, 0x57, 0xff}}
	dashes  = [][]vg.Length{nil, {vg.Points(7), vg.Points(3)}, {vg.Points(2), vg.Points(3)}}
)

// rate is the decode speed of so many sequences at a context.
func (m *ModeReport) rate(context, sequences int) float64 {
	return m.decode(context, sequences).Rate()
}

// curve is decode speed from the first token to the full context.
func (m *ModeReport) curve(context, sequences int) plotter.XYs {
	const points = 256
	var xy plotter.XYs
	for i := range points + 1 {
		at := 1 + (context-1)*i/points
		xy = append(xy, plotter.XY{X: float64(at) / 1000, Y: m.rate(at, sequences)})
	}
	return xy
}

package bench

import (
	"errors"
	"image/color"
	"io"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/orrery-ai/orrery"
)

// Draw writes a picture of decode speed over depth: for each mode the median runs joined by a line, and the
// slowest and the fastest as bars. What was predicted is dotted. The format is "svg" or "png".
func Draw(w io.Writer, format, title string, all []Decoded) error {
	if len(all) == 0 {
		return errors.New("nothing was measured: there is nothing to draw")
	}
	p := plot.New()
	p.Title.Text = title
	p.Title.Padding = vg.Points(8)
	p.X.Label.Text, p.Y.Label.Text = "tokens in the cache, thousands", "tokens/s"
	p.Y.Min = 0
	p.Add(plotter.NewGrid())
	p.Legend.Top = true
	p.Legend.Padding = vg.Points(3)
	for mode := orrery.Pipeline; mode <= orrery.Ring; mode++ {
		if err := addCurve(p, mode, all); err != nil {
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

// curve is what was measured of a mode, with its errors as plotter takes them.
type curve struct {
	plotter.XYs
	plotter.YErrors
}

func addCurve(p *plot.Plot, mode orrery.Mode, all []Decoded) error {
	var measured curve
	var predicted plotter.XYs
	for _, d := range all {
		if d.Mode != mode {
			continue
		}
		x := float64(d.Depth) / 1000
		measured.XYs = append(measured.XYs, plotter.XY{X: x, Y: d.Speed.Median})
		measured.YErrors = append(measured.YErrors, struct{ Low, High float64 }{d.Speed.Median - d.Speed.Min, d.Speed.Max - d.Speed.Median})
		if d.Predicted > 0 {
			predicted = append(predicted, plotter.XY{X: x, Y: d.Predicted})
		}
	}
	if len(measured.XYs) == 0 {
		return nil
	}
	ink := palette[mode-orrery.Pipeline]
	line, points, err := plotter.NewLinePoints(measured.XYs)
	if err != nil {
		return err
	}
	bars, err := plotter.NewYErrorBars(measured)
	if err != nil {
		return err
	}
	line.Width, line.Color = vg.Points(2), ink
	points.GlyphStyle = draw.GlyphStyle{Color: ink, Radius: vg.Points(3), Shape: shapes[mode-orrery.Pipeline]}
	bars.LineStyle.Color = ink
	p.Add(line, points, bars)
	p.Legend.Add(mode.String(), line, points)
	if len(predicted) == 0 {
		return nil
	}
	dotted, err := plotter.NewLine(predicted)
	if err != nil {
		return err
	}
	dotted.Color, dotted.Dashes = ink, []vg.Length{vg.Points(2), vg.Points(3)}
	p.Add(dotted)
	p.Legend.Add(mode.String()+", predicted", dotted)
	return nil
}

// By mode: told apart without colours too.
var (
	palette = []color.Color{color.RGBA{0xc0, 0x39, 0x2b, 0xff}, color.RGBA{0x1f, 0x6f, 0xb4, 0xff}, color.RGBA{0x2e, 0x8b, 0x57, 0xff}}
	shapes  = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.SquareGlyph{}, draw.TriangleGlyph{}}
)

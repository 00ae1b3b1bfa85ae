package main

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/coffer-backup/coffer/bench/comparison"
)

// A bar is a horizontal one with its value at the end; one that was not measured has
// a dash.
type bar struct {
	y     float64
	stat  comparison.Stat
	ink   ink
	main  bool   // value in bold
	value string // if it is not that of stat
}

func (b *bar) text() string {
	if b.stat.N == 0 {
		return "–"
	}
	return cmp.Or(b.value, comparison.Digits(b.stat.Median))
}

// bars is a plot.Plotter.
type bars []bar

// barPx is the thickness of a bar.
const barPx = 11

func (bs bars) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for _, b := range bs {
		at := vg.Point{X: x(0), Y: y(b.y)}
		if b.stat.N == 0 {
			c.FillText(textStyle(smallPx, grey), at.Add(vg.Point{X: 4, Y: 1}), b.text())
			continue
		}
		bottom, top := at.Y-barPx/2, at.Y+barPx/2
		end := x(b.stat.Median)
		c.FillPolygon(b.ink, []vg.Point{{X: at.X, Y: bottom}, {X: end, Y: bottom}, {X: end, Y: top}, {X: at.X, Y: top}})
		least, most := x(b.stat.Min), x(b.stat.Max)
		if most > least {
			whisker(&c, black, vg.Point{X: least, Y: at.Y}, vg.Point{X: most, Y: at.Y})
		}
		style := textStyle(smallPx, black)
		if b.main {
			style = bold(style)
		}
		c.FillText(style, vg.Point{X: most + 5, Y: at.Y + 1}, b.text())
	}
}

// whisker draws the range from a to b, with short ends across.
func whisker(c *draw.Canvas, k ink, a, b vg.Point) {
	const end = 2.5
	across := vg.Point{X: end}
	if a.Y == b.Y {
		across = vg.Point{Y: end}
	}
	c.StrokeLines(lineOf(k, 1.2), []vg.Point{a, b},
		[]vg.Point{a.Sub(across), a.Add(across)}, []vg.Point{b.Sub(across), b.Add(across)})
}

// A point is one of a curve.
type point struct {
	x     float64
	stat  comparison.Stat
	label string
}

// A curve is a line through points with ranges and labels.
type curve struct {
	name   string
	points []point
	ink    ink              // of marks; that of words is ink.words()
	shape  draw.GlyphDrawer // nil: no marks
	line   draw.LineStyle   // width 0: marks only
	main   bool             // labels in bold
}

// label is that of the last point.
func (cv *curve) label() string { return cv.points[len(cv.points)-1].label }

// DataRange implements plot.DataRanger.
func (cv *curve) DataRange() (xmin, xmax, ymin, ymax float64) {
	xmin, xmax, ymin, ymax = math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, p := range cv.points {
		xmin, xmax = min(xmin, p.x), max(xmax, p.x)
		ymin, ymax = min(ymin, p.stat.Min), max(ymax, p.stat.Max)
	}
	return xmin, xmax, ymin, ymax
}

func (cv *curve) at(c *draw.Canvas, p *plot.Plot, pt point) vg.Point {
	x, y := p.Transforms(c)
	return vg.Point{X: x(pt.x), Y: y(pt.stat.Median)}
}

// Plot implements plot.Plotter.
func (cv *curve) Plot(c draw.Canvas, p *plot.Plot) {
	_, y := p.Transforms(&c)
	var line []vg.Point
	for _, pt := range cv.points {
		at := cv.at(&c, p, pt)
		line = append(line, at)
		if cv.shape != nil && pt.stat.Max > pt.stat.Min {
			whisker(&c, cv.ink, vg.Point{X: at.X, Y: y(pt.stat.Min)}, vg.Point{X: at.X, Y: y(pt.stat.Max)})
		}
	}
	if cv.line.Width > 0 {
		c.StrokeLines(cv.line, line)
	}
	for _, at := range line {
		if cv.shape != nil {
			c.DrawGlyphNoClip(draw.GlyphStyle{Color: cv.ink, Radius: markPx, Shape: cv.shape}, at)
		}
	}
}

// markPx is the radius of a mark.
const markPx = 4

// endLabels is a plot.Plotter that writes the label of the last point of each curve
// to the right of the plot, moved apart where they would overlap and then joined to
// its curve.
type endLabels []*curve

func (cs endLabels) Plot(c draw.Canvas, p *plot.Plot) {
	const spacing, gap = smallPx + 4, 22
	type label struct {
		*curve
		from vg.Point
		y    vg.Length
	}
	var labels []label
	for _, cv := range cs {
		from := cv.at(&c, p, cv.points[len(cv.points)-1])
		labels = append(labels, label{cv, from, from.Y})
	}
	slices.SortStableFunc(labels, func(a, b label) int { return cmp.Compare(b.from.Y, a.from.Y) })
	for i := 1; i < len(labels); i++ {
		labels[i].y = min(labels[i].y, labels[i-1].y-spacing)
	}
	// What was pushed below the plot moves everything up again.
	for i, floor := len(labels)-1, c.Min.Y; i >= 0; i-- {
		labels[i].y = max(labels[i].y, floor)
		floor = labels[i].y + spacing
	}
	for _, l := range labels {
		style := textStyle(smallPx, l.ink.words())
		if l.main {
			style = bold(style)
		}
		x := c.Max.X + gap
		c.StrokeLines(lineOf(l.ink, 0.6), []vg.Point{{X: l.from.X + markPx + 2, Y: l.from.Y}, {X: c.Max.X + 8, Y: l.from.Y}, {X: x - 8, Y: l.y}, {X: x - 3, Y: l.y}})
		c.FillText(style, vg.Point{X: x, Y: l.y + 1}, l.label())
	}
}

// besideLabels is a plot.Plotter that writes the label of each point beside it, on
// the side where it covers least of other labels, marks and lines, and joins it to its
// point if that is not right beside.
type besideLabels []*curve

// An obstacle is what a label should not cover.
type obstacle struct {
	vg.Rectangle
	weight float64
}

func around(at vg.Point, radius vg.Length, weight float64) obstacle {
	r := vg.Point{X: radius, Y: radius}
	return obstacle{vg.Rectangle{Min: at.Sub(r), Max: at.Add(r)}, weight}
}

// obstacles are the marks, and the lines in small steps.
func (cs besideLabels) obstacles(c *draw.Canvas, p *plot.Plot) []obstacle {
	var taken []obstacle
	for _, cv := range cs {
		for i, pt := range cv.points {
			at := cv.at(c, p, pt)
			taken = append(taken, around(at, markPx+3, 8))
			if i == 0 {
				continue
			}
			back := cv.at(c, p, cv.points[i-1]).Sub(at)
			steps := math.Ceil(math.Hypot(float64(back.X), float64(back.Y)) / 4)
			for s := 1.0; s < steps; s++ {
				taken = append(taken, around(at.Add(back.Scale(vg.Length(s/steps))), 2, 1))
			}
		}
	}
	return taken
}

func (cs besideLabels) Plot(c draw.Canvas, p *plot.Plot) {
	taken := cs.obstacles(&c, p)
	for _, cv := range cs {
		style := textStyle(smallPx, cv.ink.words())
		if cv.main {
			style = bold(style)
		}
		for _, pt := range cv.points {
			at := cv.at(&c, p, pt)
			box := place(at, style.Width(pt.label), c.Rectangle, taken)
			lead := leader(at, box)
			taken = append(taken, obstacle{box, 5}, obstacle{lead, 5})
			if lead.Max.Y-lead.Min.Y > markPx+5 || lead.Max.X-lead.Min.X > markPx+5 {
				near := nearest(at, box)
				c.StrokeLine2(lineOf(cv.ink, 0.8), at.X, at.Y, near.X, near.Y)
			}
			c.FillText(style, vg.Point{X: box.Min.X, Y: (box.Min.Y+box.Max.Y)/2 + 1}, pt.label)
		}
	}
}

// nearest is the point of box that is nearest to at.
func nearest(at vg.Point, box vg.Rectangle) vg.Point {
	return vg.Point{X: min(max(at.X, box.Min.X), box.Max.X), Y: min(max(at.Y, box.Min.Y), box.Max.Y)}
}

// leader is the box of the line that joins a label to its point.
func leader(at vg.Point, box vg.Rectangle) vg.Rectangle {
	near := nearest(at, box)
	return vg.Rectangle{
		Min: vg.Point{X: min(at.X, near.X), Y: min(at.Y, near.Y)},
		Max: vg.Point{X: max(at.X, near.X) + 1, Y: max(at.Y, near.Y) + 1},
	}
}

// place finds the box for a text around a point where it, and what joins it to the
// point, cover least, and of such places the nearest: to the right, left, above,
// below, or at a corner.
func place(at vg.Point, w vg.Length, within vg.Rectangle, taken []obstacle) vg.Rectangle {
	const h = smallPx + 2
	var best vg.Rectangle
	least := math.Inf(1)
	for away := vg.Length(markPx + 3); away < 60; away += 7 {
		for _, o := range []vg.Point{
			{X: away, Y: -h / 2}, {X: -away - w, Y: -h / 2}, {X: -w / 2, Y: away}, {X: -w / 2, Y: -away - h},
			{X: 0, Y: away}, {X: 0, Y: -away - h}, {X: -w, Y: away}, {X: -w, Y: -away - h},
		} {
			lower := at.Add(o)
			box := vg.Rectangle{Min: lower, Max: lower.Add(vg.Point{X: w, Y: h})}
			lead := leader(at, box)
			cost := 5*(float64(w*h)-overlap(box, within)) + 4*float64(away)
			for _, t := range taken {
				cost += t.weight * (overlap(box, t.Rectangle) + 5*overlap(lead, t.Rectangle))
			}
			// Every one crosses the mark it starts from.
			cost -= 8 * 5 * overlap(lead, around(at, markPx+3, 0).Rectangle)
			if cost < least {
				best, least = box, cost
			}
		}
	}
	return best
}

// overlap is the area that two boxes share.
func overlap(a, b vg.Rectangle) float64 {
	w := min(a.Max.X, b.Max.X) - max(a.Min.X, b.Min.X)
	h := min(a.Max.Y, b.Max.Y) - max(a.Min.Y, b.Min.Y)
	return float64(max(w, 0) * max(h, 0))
}

// grid returns faint lines at the ticks of one or both axes.
func grid(x, y bool) *plotter.Grid {
	g := new(plotter.Grid)
	if x {
		g.Vertical = lineOf(faint, 1)
	}
	if y {
		g.Horizontal = lineOf(faint, 1)
	}
	return g
}

package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/coffer-backup/coffer/bench/comparison"
)

// A line of a bar chart is a heading, or a name with a bar in each column.
type line struct {
	name    string
	heading bool
	main    bool // in bold
	y       float64
	bars    map[string]bar // by column
}

// A column of a bar chart.
type column struct{ name, axis string }

// drawBars draws lines from top to bottom. Columns have scales of their own.
func drawBars(title, note string, lines []*line, columns []column) (drawing, error) {
	const linePx, axisPx, gap = 15, 40, 12
	names, values, y := vg.Length(0), vg.Length(0), 0.0
	for i, l := range lines {
		names = max(names, bold(textStyle(smallPx, black)).Width(l.name))
		for _, b := range l.bars {
			values = max(values, bold(textStyle(smallPx, black)).Width(b.text())+gap)
		}
		if l.heading && i > 0 {
			y -= 0.6
		}
		l.y, y = y, y-1
	}
	pg := newPage(axisPx-math.Floor(y*linePx), title, note)
	width := (pg.canvas.Max.X - pg.canvas.Min.X - names) / vg.Length(len(columns))
	for i, col := range columns {
		p := newPlot("", col.axis, "")
		p.X.Min, p.Y.Min, p.Y.Max = 0, y+0.5, 0.5
		p.Y.Tick.Marker = plot.ConstantTicks(nil)
		var bs bars
		for _, l := range lines {
			if l.heading {
				pg.describe("%s", l.name)
				continue
			}
			b := l.bars[col.name]
			b.y = l.y
			p.X.Max = max(p.X.Max, b.stat.Max)
			bs = append(bs, b)
			pg.describe("%s, %s: %s", l.name, col.name, b.text())
		}
		p.Add(grid(true, false), bs)
		area := draw.Crop(pg.canvas, names+vg.Length(i)*width+gap/2, 0, 0, 0)
		area.Max.X = area.Min.X + width - gap - values
		p.Draw(area)
		if i == 0 {
			nameLines(p.DataCanvas(area), p, lines)
		}
	}
	return pg.drawing()
}

// nameLines writes names to the left of the first column.
func nameLines(c draw.Canvas, p *plot.Plot, lines []*line) {
	_, y := p.Transforms(&c)
	for _, l := range lines {
		style := textStyle(smallPx, black)
		if l.heading || l.main {
			style = bold(style)
		}
		style.XAlign = draw.XRight
		c.FillText(style, vg.Point{X: c.Min.X - 7, Y: y(l.y) + 1}, l.name)
	}
}

// drawThroughput draws the speed of whole commands, backup beside restore.
func drawThroughput(in *input) (drawing, error) {
	rows := charted(in.peerRows())
	if len(rows) == 0 {
		return drawing{}, fmt.Errorf("%w: no runs of peers", errNoData)
	}
	slices.SortStableFunc(rows, func(a, b *comparison.Row) int {
		return cmp.Or(comparison.Corpora.Compare(a.Corpus, b.Corpus), comparison.Tools.Compare(a.Tool, b.Tool), comparison.Variants.Compare(a.Variant, b.Variant))
	})
	var lines []*line
	var columns []column
	for i, r := range rows {
		if i == 0 || r.Corpus != rows[i-1].Corpus {
			lines = append(lines, &line{name: fmt.Sprintf("%s, %s MB", r.Corpus, comparison.Digits(float64(r.Size)/mb)), heading: true})
		}
		name := label(r)
		if !r.Ours() {
			name = toolName(r)
		}
		if last := lines[len(lines)-1]; last.heading || last.name != name {
			lines = append(lines, &line{name: name, main: isMain(r), bars: make(map[string]bar)})
		}
		lines[len(lines)-1].bars[r.Do] = bar{stat: r.Speed().Times(1 / mb), ink: inkOf(r), main: isMain(r)}
		if col := (column{r.Do, r.Do + ", MB/s"}); !slices.Contains(columns, col) {
			columns = append(columns, col)
		}
	}
	slices.SortFunc(columns, func(a, b column) int { return cmp.Compare(a.name, b.name) })
	note := fmt.Sprintf("Plaintext MB/s, median and range of %d; of a peer's settings the fastest. %s", rows[0].Wall.N, in.where())
	return drawBars("Speed of whole commands", note, lines, columns)
}

// charted returns the rows of the first chart: of each peer the setting that is the
// fastest, of coffer all but what an archive does without cgo.
func charted(rows []*comparison.Row) []*comparison.Row {
	return slices.DeleteFunc(slices.Clone(rows), func(r *comparison.Row) bool {
		if r.Ours() {
			return r.Tool == "coffer-nocgo" && r.Variant == "backup"
		}
		return slices.ContainsFunc(rows, func(o *comparison.Row) bool {
			return o.Tool == r.Tool && o.Corpus == r.Corpus && o.Do == r.Do && o.Wall.Median < r.Wall.Median
		})
	})
}

// drawScaling draws speed by workers, as a multiple of that of the fewest.
func drawScaling(in *input) (drawing, error) {
	rows, where := in.benchRows("Workers", "B/s")
	workers := func(r *benchRow) float64 {
		n, _ := strconv.ParseUint(r.key("workers"), 10, 16)
		return float64(n)
	}
	rows = slices.DeleteFunc(rows, func(r *benchRow) bool { return workers(r) == 0 })
	slices.SortStableFunc(rows, func(a, b *benchRow) int { return cmp.Compare(workers(a), workers(b)) })
	var series []string
	var columns []column
	first := make(map[[2]string]*benchRow) // of each series and column
	bySeries := make(map[string][]*line)
	scaled := false
	for _, r := range rows {
		name, do := seriesName(rows, r, "do", "workers"), r.key("do")
		if !slices.Contains(series, name) {
			series = append(series, name)
		}
		if col := (column{do, do + ", × the speed of one worker"}); !slices.Contains(columns, col) {
			columns = append(columns, col)
		}
		base := cmp.Or(first[[2]string{name, do}], r)
		first[[2]string{name, do}] = base
		scaled = scaled || workers(r) > workers(base)
		bySeries[name] = addBar(bySeries[name], do, workers(r), r.stat("B/s"), base.stat("B/s").Median)
	}
	if !scaled {
		return drawing{}, fmt.Errorf("%w: BenchmarkWorkers with two numbers of workers or more", errNoData)
	}
	var lines []*line
	for _, name := range series {
		lines = append(append(lines, &line{name: name, heading: true}), bySeries[name]...)
	}
	return drawBars("Speed by workers", joined(". ", "Median and range, and plaintext MB/s", where), lines, columns)
}

// addBar puts a speed into the line of its number of workers.
func addBar(lines []*line, do string, workers float64, s comparison.Stat, one float64) []*line {
	name := number(workers) + " workers"
	k := blue
	if workers == 1 {
		name, k = "1 worker", stone
	}
	b := bar{stat: s.Times(1 / one), ink: k, value: comparison.Digits(s.Median / mb)}
	if s.Median != one {
		b.value = fmt.Sprintf("%s, × %s", b.value, comparison.Digits(s.Median/one))
	}
	for _, l := range lines {
		if l.name == name {
			l.bars[do] = b
			return lines
		}
	}
	return append(lines, &line{name: name, bars: map[string]bar{do: b}})
}

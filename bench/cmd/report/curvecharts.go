package main

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/coffer-backup/coffer/bench/comparison"
	"github.com/coffer-backup/coffer/bench/corpus"
)

// leastRatio is where the chart of ratios begins: what does not compress would only
// stretch its axes.
const leastRatio = 1.1

// drawRatioSpeed draws ratio against speed, a panel for each corpus.
func drawRatioSpeed(in *input) (drawing, error) {
	panels := make(map[string][]*curve)
	what := ""
	for _, r := range representatives(in.peerRows()) {
		what = "Dots: whole commands. "
		panels[r.Corpus] = append(panels[r.Corpus], &curve{name: label(r), ink: inkOf(r), shape: draw.CircleGlyph{}, main: isMain(r),
			points: []point{{r.Speed().Median / mb, exactly(r.Ratio().Median), label(r)}}})
	}
	rows, at := in.levels()
	for _, r := range rows {
		corpus := r.key("corpus")
		panels[corpus] = addLevel(panels[corpus], r)
	}
	corpora := slices.SortedFunc(maps.Keys(panels), comparison.Corpora.Compare)
	if len(corpora) == 0 {
		return drawing{}, fmt.Errorf("%w: no ratio of %v or more in BenchmarkWriter, BenchmarkZstd or backups of peers", errNoData, leastRatio)
	}
	const panelPx = 260
	note := fmt.Sprintf("%s%sRatios below %v are left out", what, at, leastRatio)
	pg := newPage(float64(len(corpora))*panelPx, "Compression ratio against speed", note)
	for i, corpus := range corpora {
		area := draw.Crop(pg.canvas, 0, 0, 0, -vg.Length(i*panelPx))
		area.Min.Y = area.Max.Y - panelPx + 12
		drawLevels(area, corpus, panels[corpus])
		for _, cv := range panels[corpus] {
			for _, pt := range cv.points {
				pg.describe("%s, %s: %s MB/s, ratio %s", corpus, pt.label, comparison.Digits(pt.x), comparison.Digits(pt.stat.Median))
			}
		}
	}
	return pg.drawing()
}

// representatives returns the backups for the chart of ratios: of coffer those at its
// defaults, of a peer no setting that is slower than another one of its own and does
// not compress 1 % more.
func representatives(rows []*comparison.Row) []*comparison.Row {
	rows = slices.DeleteFunc(rows, func(r *comparison.Row) bool { return r.Do != "backup" || r.Ratio().Median < leastRatio })
	return slices.DeleteFunc(slices.Clone(rows), func(r *comparison.Row) bool {
		if r.Ours() {
			return label(r) != toolName(r)
		}
		return slices.ContainsFunc(rows, func(o *comparison.Row) bool {
			return o.Tool == r.Tool && o.Corpus == r.Corpus && o.Wall.Median < r.Wall.Median && o.Ratio().Median*1.01 > r.Ratio().Median
		})
	})
}

// levels are the rows of a benchmark that compares compressors and levels, at those
// settings of its other keys that most rows have, and these settings: the suites vary
// one key at a time from a default point.
func (in *input) levels() ([]*benchRow, string) {
	for _, base := range []string{"Writer", "Zstd"} {
		rows, _ := in.benchRows(base, "ratio")
		rows = slices.DeleteFunc(rows, func(r *benchRow) bool {
			return r.key("do") == "decode" || r.stat("B/s").N == 0 || r.stat("ratio").Median < leastRatio
		})
		count := make(map[string]int)
		best := ""
		for _, r := range rows {
			count[r.settings()]++
		}
		for _, r := range rows {
			if at := r.settings(); best == "" || count[at] > count[best] {
				best = at
			}
		}
		if len(rows) > 0 {
			rows = slices.DeleteFunc(rows, func(r *benchRow) bool { return r.settings() != best })
			return rows, "Lines: levels in Benchmark" + base + " at " + best + ". "
		}
	}
	return nil, ""
}

// settings are the keys that are neither corpus, compressor nor level.
func (r *benchRow) settings() string {
	var parts []string
	for _, k := range r.keys {
		if !slices.Contains([]string{"corpus", "compressor", "level", "GOMAXPROCS"}, k.key) {
			parts = append(parts, k.key+"="+k.value)
		}
	}
	return strings.Join(parts, " ")
}

// addLevel puts a row onto the curve of its compressor.
func addLevel(curves []*curve, r *benchRow) []*curve {
	compressor := cmp.Or(r.key("compressor"), r.base)
	pt := point{r.stat("B/s").Median / mb, r.stat("ratio"), r.key("level") + ", " + compressor}
	i := slices.IndexFunc(curves, func(cv *curve) bool { return cv.name == compressor && cv.line.Width > 0 })
	if i < 0 {
		k, shape := orange, draw.GlyphDrawer(draw.PyramidGlyph{})
		if compressor == "libzstd" {
			k, shape = green, draw.BoxGlyph{}
		}
		curves = append(curves, &curve{name: compressor, ink: k, shape: shape, line: lineOf(k, 1.5)})
		i = len(curves) - 1
	}
	curves[i].points = append(curves[i].points, pt)
	return curves
}

// drawLevels draws the panel of a corpus.
func drawLevels(area draw.Canvas, corpus string, curves []*curve) {
	p := newPlot(corpus, "plaintext MB/s", "plain / stored bytes")
	p.Add(grid(true, true))
	for _, cv := range curves {
		p.Add(cv)
	}
	p.Add(besideLabels(curves))
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, logTicks{}
	p.X.Min, p.X.Max = p.X.Min/1.3, p.X.Max*1.3
	room := (p.Y.Max - p.Y.Min) * 0.1
	p.Y.Min, p.Y.Max = p.Y.Min-room, p.Y.Max+room
	p.Draw(area)
}

// drawGrowth draws time against size, both logarithmic.
func drawGrowth(in *input) (drawing, error) {
	curves, where := in.bySize("sec/op")
	if len(curves) == 0 {
		return drawing{}, fmt.Errorf("%w: BenchmarkGrowth with two sizes or more", errNoData)
	}
	pg := newPage(340, "Time against size", joined(". ", "Median and range; dashed: the time of the largest size, in proportion", where))
	p := newPlot("", "size of the plaintext", "seconds")
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, logTicks{decades: true}
	for _, cv := range curves {
		first, last := cv.points[0], &cv.points[len(cv.points)-1]
		t := last.stat.Median
		last.label = fmt.Sprintf("%s: %s s for %s, %s MB/s", cv.name, comparison.Digits(t), sizeName(last.x), comparison.Digits(last.x/t/mb))
		dashes := lineOf(cv.ink, 1)
		dashes.Dashes = []vg.Length{4, 4}
		p.Add(&curve{line: dashes, points: []point{{x: first.x, stat: exactly(t * first.x / last.x)}, {x: last.x, stat: exactly(t)}}})
	}
	pg.drawSizes(p, curves)
	return pg.drawing()
}

// drawMemory draws peak memory against size.
func drawMemory(in *input) (drawing, error) {
	curves, where := in.bySize("peak-bytes")
	if len(curves) == 0 {
		return drawing{}, fmt.Errorf("%w: BenchmarkGrowth with peak-bytes at two sizes or more", errNoData)
	}
	pg := newPage(300, "Peak memory against size", joined(". ", "Median and range", where))
	p := newPlot("", "size of the plaintext", "MiB")
	p.Y.Min = 0
	for _, cv := range curves {
		for i := range cv.points {
			cv.points[i].stat = cv.points[i].stat.Times(1.0 / mib)
			p.Y.Max = max(p.Y.Max, cv.points[i].stat.Max*1.1)
		}
		last := &cv.points[len(cv.points)-1]
		last.label = fmt.Sprintf("%s: %s MiB at %s", cv.name, comparison.Digits(last.stat.Median), sizeName(last.x))
	}
	pg.drawSizes(p, curves)
	return pg.drawing()
}

// drawSizes draws curves over sizes, and their labels.
func (p *page) drawSizes(pl *plot.Plot, curves []*curve) {
	names := vg.Length(0)
	pl.Add(grid(true, true))
	for _, cv := range curves {
		pl.Add(cv)
		names = max(names, textStyle(smallPx, black).Width(cv.label()))
		p.describe("%s", cv.label())
	}
	pl.Add(endLabels(curves))
	pl.X.Scale, pl.X.Tick.Marker = plot.LogScale{}, sizeTicks{}
	area := p.canvas
	area.Max.X -= names
	pl.Draw(area)
}

// sizeTicks are powers of 2, eight at most.
type sizeTicks struct{}

func (sizeTicks) Ticks(least, most float64) []plot.Tick {
	low, high := math.Ceil(math.Log2(least)), math.Floor(math.Log2(most))
	step := max(1, math.Ceil((high-low)/7))
	var ticks []plot.Tick
	for e := low; e <= high; e += step {
		ticks = append(ticks, plot.Tick{Value: math.Exp2(e), Label: sizeName(math.Exp2(e))})
	}
	return ticks
}

// bySize returns curves of a unit of BenchmarkGrowth over its sizes.
func (in *input) bySize(unit string) (curves []*curve, where string) {
	rows, where := in.benchRows("Growth", unit)
	colours := []ink{blue, orange, green, purple}
	shapes := []draw.GlyphDrawer{draw.CircleGlyph{}, draw.BoxGlyph{}, draw.PyramidGlyph{}, draw.RingGlyph{}}
	for _, r := range rows {
		bytes, err := corpus.ParseSize(r.key("size"))
		if err != nil || bytes == 0 {
			continue
		}
		size := float64(bytes)
		name := seriesName(rows, r, "size")
		i := slices.IndexFunc(curves, func(cv *curve) bool { return cv.name == name })
		if i < 0 {
			i = len(curves)
			k := colours[i%len(colours)]
			curves = append(curves, &curve{name: name, ink: k, shape: shapes[i%len(shapes)], line: lineOf(k, 2)})
		}
		curves[i].points = append(curves[i].points, point{x: size, stat: r.stat(unit)})
	}
	curves = slices.DeleteFunc(curves, func(cv *curve) bool { return len(cv.points) < 2 })
	for _, cv := range curves {
		slices.SortFunc(cv.points, func(a, b point) int { return cmp.Compare(a.x, b.x) })
	}
	return curves, where
}

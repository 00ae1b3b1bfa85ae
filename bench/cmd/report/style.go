package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"regexp"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// An ink is a colour for one purpose, 0xRRGGBB on light and on dark paper. Charts are
// drawn with the light one, by which render finds the dark one again.
type ink struct{ light, dark uint32 }

// The inks. Hues are those of Okabe and Ito, which colour-blind people can tell
// apart, made darker or lighter until text in them is readable on both papers.
var (
	paper  = ink{0xffffff, 0x0d1117}
	black  = ink{0x1f2328, 0xe6edf3} // titles, names, values
	grey   = ink{0x59636e, 0x9198a1} // axes, explanations
	faint  = ink{0xd8dee4, 0x2b323b} // grid lines
	stone  = ink{0x848d97, 0x7d8590} // what is the peers'
	blue   = ink{0x0067a8, 0x3a97dd} // what is coffer's
	pale   = ink{0x4f9ac9, 0x2f6f9b} // coffer in another build or setting
	orange = ink{0xb14a00, 0xff9b57}
	green  = ink{0x00775a, 0x3cc9a0}
	purple = ink{0xa03f78, 0xe59ac4}

	inks = []ink{paper, black, grey, faint, stone, blue, pale, orange, green, purple}
)

// RGBA implements color.Color. One is added, as vgsvg rounds down when it takes the
// 8 bits out again.
func (k ink) RGBA() (r, g, b, a uint32) {
	channel := func(shift int) uint32 { return min(k.light>>shift&0xff*0x101+1, 0xffff) }
	return channel(16), channel(8), channel(0), 0xffff
}

// words returns the ink for what is written about marks of k: in those that are only
// made for areas, letters would be too weak.
func (k ink) words() ink {
	switch k {
	case stone:
		return grey
	case pale:
		return blue
	}
	return k
}

func hex(rgb uint32) string { return fmt.Sprintf("#%06x", rgb) }

// Charts are as wide as a README shows them. One unit of vg is one pixel.
const (
	width    = 800
	smallPx  = 12
	normalPx = 13
	titlePx  = 17
)

// textStyle is left-aligned and, in y, centred.
func textStyle(size float64, k ink) draw.TextStyle {
	return draw.TextStyle{
		Color:   k,
		Font:    font.Font{Typeface: "Liberation", Variant: "Sans", Size: font.Length(size)},
		YAlign:  draw.YCenter,
		Handler: plot.DefaultTextHandler,
	}
}

func bold(t draw.TextStyle) draw.TextStyle {
	t.Font.Weight = 3 // WeightBold in golang.org/x/image/font, for which alone we would require that module
	return t
}

// newPlot returns a plot in the style of all charts: no frame, no ticks, a faint grid.
func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	p.Title.Text = title
	p.Title.TextStyle = bold(textStyle(normalPx, black))
	p.Title.TextStyle.XAlign, p.Title.TextStyle.YAlign = draw.XCenter, draw.YTop
	p.Title.Padding = 8
	p.X.Label.Text, p.Y.Label.Text = x, y
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.LineStyle.Width, axis.Tick.LineStyle.Width, axis.Tick.Length = 0, 0, 0
		axis.Padding = 3
		axis.Label.Padding = 3
		axis.Tick.Marker = linearTicks{}
		for _, style := range []*draw.TextStyle{&axis.Label.TextStyle, &axis.Tick.Label} {
			plain := textStyle(smallPx, grey)
			plain.XAlign, plain.YAlign = style.XAlign, style.YAlign
			*style = plain
		}
	}
	return p
}

func lineOf(k ink, width float64) draw.LineStyle {
	return draw.LineStyle{Color: k, Width: vg.Length(width)}
}

// linearTicks are the multiples of 1, 2 or 5 times a power of ten of which up to
// seven fit. gonum's are fewer, and at multiples of 3, 7 or 9 as well.
type linearTicks struct{}

func (linearTicks) Ticks(least, most float64) []plot.Tick {
	step := math.Pow(10, math.Floor(math.Log10((most-least)/6)))
	for _, m := range []float64{2, 2.5, 2} {
		if (most-least)/step > 6 {
			step *= m
		}
	}
	var ticks []plot.Tick
	for n := math.Ceil(least / step); n*step <= most; n++ {
		ticks = append(ticks, plot.Tick{Value: n * step, Label: number(n * step)})
	}
	return ticks
}

// logTicks are the powers of ten, or 1, 2 and 5 times each.
type logTicks struct{ decades bool }

func (t logTicks) Ticks(least, most float64) []plot.Tick {
	multiples := []float64{1, 2, 5}
	if t.decades {
		multiples = multiples[:1]
	}
	var ticks []plot.Tick
	for power := math.Floor(math.Log10(least)); power <= math.Log10(most); power++ {
		for _, m := range multiples {
			if v := m * math.Pow(10, power); v >= least && v <= most {
				ticks = append(ticks, plot.Tick{Value: v, Label: number(v)})
			}
		}
	}
	return ticks
}

var (
	styleAttribute = regexp.MustCompile(`\s*style="([^"]*)"`)
	colour         = regexp.MustCompile(`#[0-9A-Fa-f]{6}`)
)

// A page is a chart on its paper, with what it says in words for those who cannot
// see it.
type page struct {
	canvas draw.Canvas
	svg    *vgsvg.Canvas
	height float64
	title  string
	note   string
	desc   string // the note, and the values
}

// margin is free space around a chart.
const margin = 14

// newPage starts a chart with a body of a height below its title and note.
func newPage(bodyPx float64, title, note string) *page {
	style := textStyle(smallPx, grey)
	lines := wrap(style, note)
	const notePx = smallPx + 4
	headPx := margin + titlePx + 6 + notePx*float64(len(lines)) + 10
	p := &page{height: headPx + bodyPx + margin, title: title, note: note, desc: note}
	p.svg = vgsvg.New(width, vg.Length(p.height))
	c := draw.New(p.svg)
	y := c.Max.Y - margin - titlePx/2
	c.FillText(bold(textStyle(titlePx, black)), vg.Point{X: margin, Y: y}, title)
	y -= titlePx/2 + 6
	for _, l := range lines {
		c.FillText(style, vg.Point{X: margin, Y: y - notePx/2}, l)
		y -= notePx
	}
	p.canvas = draw.Crop(c, margin, -margin, margin, -vg.Length(headPx))
	return p
}

// wrap breaks a text into lines that fit on a page.
func wrap(style draw.TextStyle, s string) (lines []string) {
	last := ""
	for _, word := range strings.Fields(s) {
		if next := joined(" ", last, word); style.Width(next) <= width-2*margin {
			last = next
			continue
		}
		lines, last = append(lines, last), word
	}
	return append(lines, last)
}

// render returns the SVG. vgsvg writes fixed colours and the font it measured with
// into each element: here they become classes of a style sheet that has each colour
// twice, once for dark mode. The paper is painted, so that a chart stays readable
// where page and browser disagree about the mode, and stands around letters, so that
// lines do not cross them. The fonts are those of Liberation
// Sans's widths, which every system has one of.
func (p *page) render() []byte {
	var raw bytes.Buffer
	p.svg.WriteTo(&raw) // a bytes.Buffer takes everything
	_, body, _ := strings.Cut(raw.String(), "<g ")

	dark := make(map[string]string)
	for _, k := range inks {
		dark[hex(k.light)] = hex(k.dark)
	}
	darkened := func(s string) string {
		return colour.ReplaceAllStringFunc(s, func(c string) string { return dark[strings.ToLower(c)] })
	}
	classes := make(map[string]string)
	var light, night strings.Builder
	body = styleAttribute.ReplaceAllStringFunc(body, func(attribute string) string {
		rules := shorten(styleAttribute.FindStringSubmatch(attribute)[1])
		class := classes[rules]
		if class == "" {
			class = fmt.Sprintf("c%d", len(classes))
			classes[rules] = class
			fmt.Fprintf(&light, ".%s{%s}\n", class, rules)
			fmt.Fprintf(&night, ".%s{%s}\n", class, darkened(rules))
		}
		return fmt.Sprintf(` class="%s"`, class)
	})

	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%[1]d" height="%[2]g" viewBox="0 0 %[1]d %[2]g" role="img" aria-labelledby="title desc">
<title id="title">%[3]s</title>
<desc id="desc">%[4]s</desc>
<style>
text{font-family:"Liberation Sans",Arimo,Arial,Helvetica,sans-serif;paint-order:stroke;stroke-width:3px;stroke-linejoin:round}
.paper{fill:%[5]s}text{stroke:%[5]s}
%[6]s@media (prefers-color-scheme:dark){
.paper{fill:%[7]s}text{stroke:%[7]s}
%[8]s}
</style>
<rect class="paper" width="100%%" height="100%%" rx="6"/>
<g %[9]s`, width, p.height, html.EscapeString(p.title), html.EscapeString(p.desc),
		hex(paper.light), light.String(), hex(paper.dark), night.String(), body)
	return out.Bytes()
}

// shorten leaves out of rules what is the default or stands in the style sheet once.
func shorten(rules string) string {
	kept := slices.DeleteFunc(strings.Split(rules, ";"), func(rule string) bool {
		name, value, _ := strings.Cut(rule, ":")
		return name == "font-family" || value == "normal" || name == "font-variant"
	})
	return strings.Join(kept, ";")
}

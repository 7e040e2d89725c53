package torture

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// A graph is panels side by side, each of those series that share its title.
const (
	panelColumns = 3
	panelWidth   = 300
	panelHeight  = 150
	panelGap     = 16
	// Within a panel: what stands above, below and left of the lines.
	panelTop, panelBottom, panelLeft, panelRight = 34, 22, 62, 14
)

const graphStyle = `
svg { font-family: system-ui, -apple-system, "Segoe UI", sans-serif; --ground: #ffffff; --card: #f6f8fa; --edge: #d8dee4; --ink: #1f2328; --faint: #59636e; --one: #0969da; --two: #bc4c00; }
@media (prefers-color-scheme: dark) {
svg { --ground: #0d1117; --card: #151b23; --edge: #30363d; --ink: #f0f6fc; --faint: #9198a1; --one: #58a6ff; --two: #f0883e; }
}
.ground { fill: var(--ground); }
.card { fill: var(--card); stroke: var(--edge); }
.title { fill: var(--ink); font-size: 13px; font-weight: 600; }
.label { fill: var(--faint); font-size: 10.5px; font-variant-numeric: tabular-nums; }
.rule { stroke: var(--edge); stroke-width: 1; }
.line { fill: none; stroke-width: 1.5; stroke-linejoin: round; stroke-linecap: round; }
.one { stroke: var(--one); } .two { stroke: var(--two); }
.name { font-size: 10.5px; } .name.one { fill: var(--one); stroke: none; } .name.two { fill: var(--two); stroke: none; }
`

// graph draws all series that have a panel, as SVG, for light and for dark.
func (a *samples) graph() []byte {
	var titles []string
	of := map[string][]measure{}
	for _, m := range a.measures {
		if m.panel == "" {
			continue
		}
		if of[m.panel] == nil {
			titles = append(titles, m.panel)
		}
		of[m.panel] = append(of[m.panel], m)
	}
	rows := (len(titles) + panelColumns - 1) / panelColumns
	width, height := panelColumns*(panelWidth+panelGap)+panelGap, rows*(panelHeight+panelGap)+panelGap
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img" aria-label="The series of the soak over time">`, width, height)
	fmt.Fprintf(&b, "\n<style>%s</style>\n<rect class=\"ground\" width=\"100%%\" height=\"100%%\"/>\n", graphStyle)
	for i, title := range titles {
		x, y := panelGap+i%panelColumns*(panelWidth+panelGap), panelGap+i/panelColumns*(panelHeight+panelGap)
		fmt.Fprintf(&b, "<g transform=\"translate(%d %d)\">\n", x, y)
		a.panel(&b, title, of[title])
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func (a *samples) panel(b *bytes.Buffer, title string, measures []measure) {
	most := 0.0
	for _, m := range measures {
		for _, value := range a.values[m.key] {
			if value > most { // not for NaN
				most = value
			}
		}
	}
	u := measures[0].unit
	top, step := scale(most, u)
	last := a.at[len(a.at)-1]
	const bottom, right = panelHeight - panelBottom, panelWidth - panelRight
	xOf := func(at time.Duration) float64 {
		return panelLeft + (right-panelLeft)*at.Seconds()/last.Seconds()
	}
	yOf := func(value float64) float64 { return bottom - (bottom-panelTop)*value/top }

	fmt.Fprintf(b, "<rect class=\"card\" x=\"0.5\" y=\"0.5\" width=\"%d\" height=\"%d\" rx=\"6\"/>\n<text class=\"title\" x=\"12\" y=\"20\">%s</text>\n", panelWidth-1, panelHeight-1, escape(title))
	for value := 0.0; value <= top*1.001; value += step {
		fmt.Fprintf(b, "<path class=\"rule\" d=\"M%d %.1fH%d\"/><text class=\"label\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
			panelLeft, yOf(value), right, panelLeft-6, yOf(value)+3.5, escape(u.tick(value)))
	}
	for i, anchor := range []string{"start", "middle", "end"} {
		at := last * time.Duration(i) / 2
		fmt.Fprintf(b, "<text class=\"label\" x=\"%.1f\" y=\"%d\" text-anchor=\"%s\">%s</text>\n", xOf(at), bottom+14, anchor, minutes(at))
	}
	for i, m := range measures {
		class := []string{"one", "two"}[i%2]
		var path strings.Builder
		pen := "M"
		for k, value := range a.values[m.key] {
			if math.IsNaN(value) {
				pen = "M"
				continue
			}
			fmt.Fprintf(&path, "%s%.1f %.1f", pen, xOf(a.at[k]), yOf(value))
			pen = "L"
		}
		fmt.Fprintf(b, "<path class=\"line %s\" d=\"%s\"/>\n", class, path.String())
	}
	if len(measures) > 1 {
		// From the right, the last one first.
		x := float64(right)
		for i, m := range slices.Backward(measures) {
			name := m.short()
			fmt.Fprintf(b, "<text class=\"name %s\" x=\"%.0f\" y=\"20\" text-anchor=\"end\">%s</text>\n", []string{"one", "two"}[i%2], x, escape(name))
			x -= 6*float64(len(name)) + 10
		}
	}
}

// short is what sets a series apart from the others of its panel.
func (m measure) short() string {
	before, after, found := strings.Cut(m.title, ": ")
	if strings.HasPrefix(m.title, "node ") || after == "dead rows" {
		return before
	}
	if found {
		return after
	}
	return m.title
}

// scale is the top of an axis for values up to most, and the step of its two to four
// rules.
func scale(most float64, u unit) (top, step float64) {
	least := 4.0
	switch u {
	case inBytes:
		least = 1e6
	case inSeconds:
		least = 0.1
	}
	most = max(most*1.05, least)
	power := math.Pow(10, math.Floor(math.Log10(most)))
	for _, k := range []float64{0.5, 1, 2, 2.5, 5} {
		if step = k * power; most/step <= 4 {
			break
		}
	}
	return math.Ceil(most/step) * step, step
}

// tick writes a round value of an axis.
func (u unit) tick(value float64) string {
	switch {
	case u == inBytes && value >= 1e9:
		return fmt.Sprintf("%.3g GB", value/1e9)
	case u == inBytes && value >= 1e6:
		return fmt.Sprintf("%.3g MB", value/1e6)
	case u == inBytes && value > 0:
		return fmt.Sprintf("%.3g kB", value/1e3)
	case u == inSeconds:
		return fmt.Sprintf("%.3g s", value)
	case u == inPercent:
		return fmt.Sprintf("%.3g %%", value)
	case u == perSecond && value > 0:
		return inNumber.tick(value) + "/s"
	case value >= 1e6:
		return fmt.Sprintf("%.3g M", value/1e6)
	case value >= 1e4:
		return fmt.Sprintf("%.3g k", value/1e3)
	}
	return fmt.Sprintf("%.4g", value)
}

func minutes(d time.Duration) string {
	if d < 3*time.Minute {
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f min", d.Minutes())
}

func escape(text string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(text))
	return b.String()
}

func TestSoak_DrawsEachPanelOnce(t *testing.T) {
	a := &samples{values: map[string][]float64{}}
	for _, m := range []measure{
		{key: "a", title: "node A: memory & more", unit: inBytes, panel: "Memory <all>"},
		{key: "b", title: "node B: memory & more", unit: inBytes, panel: "Memory <all>"},
		{key: "c", title: "nothing at all", unit: inNumber, panel: "Nothing"},
		{key: "d", title: "not drawn", unit: inNumber},
	} {
		a.measures = append(a.measures, m)
		for i := range 10 {
			value := float64(i) * 3 * megabyte
			if m.key == "c" {
				value = 0
			}
			a.values[m.key] = append(a.values[m.key], value)
		}
	}
	for i := range 10 {
		a.at = append(a.at, time.Duration(i)*time.Minute)
	}
	a.values["a"][4] = math.NaN()
	drawn := a.graph()
	for decoder := xml.NewDecoder(bytes.NewReader(drawn)); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("it is no XML: %v\n%s", err, drawn)
		}
	}
	for text, times := range map[string]int{"Memory &lt;all&gt;": 1, ">Nothing<": 1, "not drawn": 0, "class=\"line": 3, "NaN": 0, "Inf": 0, "M62.0": 3, ">30 MB<": 1, ">9 min<": 2} {
		if n := bytes.Count(drawn, []byte(text)); n != times {
			t.Errorf("%q is there %d times, want %d:\n%s", text, n, times, drawn)
		}
	}
}

package main

import (
	"fmt"
	"math"
	"time"
)

// Sizes of the picture, in pixels.
const (
	pictureWidth = 900
	titleHeight  = 64
	panelHeight  = 170
	panelGap     = 62
	leftMargin   = 70
	rightMargin  = 130
	textSize     = 12
)

// Colors that people with any kind of eyes can tell apart (Okabe and Ito: Color
// universal design, 2008).
var (
	classColors = []string{"#009e73", "#56b4e9", "#e69f00", "#cc79a7"} // the last one for sybils
	lineColor   = "#0072b2"
	upperColor  = "#d55e00"
	gridColor   = "#dddddd"
	frameColor  = "#888888"
)

// drawing shows a run: how many servers are connected, of which classes, and how
// long their answers take.
func drawing(title, subtitle string, h history) string {
	pic := &svg{width: pictureWidth, height: titleHeight + 3*(panelHeight+panelGap)}
	pic.text(point{leftMargin, 24}, rightOf, 16, title)
	pic.text(point{leftMargin, 43}, rightOf, textSize, subtitle)
	end := h.last().at
	panels := []*panel{
		newPanel(pic, 0, "connections", end, linear(0, wanted+1)),
		newPanel(pic, 1, "share of connected time by class of the servers", end, linear(0, 1)),
		newPanel(pic, 2, "time of answers (logarithmic)", end, answerScale(h)),
	}
	for y := range wanted + 2 {
		panels[0].grid(float64(y), fmt.Sprint(y))
	}
	for y := range 5 {
		panels[1].grid(float64(y)/4, fmt.Sprintf("%d%%", 25*y))
	}
	for _, t := range answerTicks {
		panels[2].grid(t.Seconds(), answerLabel(t))
	}
	drawConnections(panels[0], h)
	drawShares(panels[1], h)
	drawAnswers(panels[2], h)
	for _, p := range panels {
		p.frame()
	}
	return pic.String()
}

func drawConnections(p *panel, h history) {
	var line []point
	before := make([]time.Duration, len(h[0].record.Connected))
	at := time.Duration(0)
	for _, s := range h {
		var sum time.Duration
		for class, d := range s.record.Connected {
			sum += d - before[class]
		}
		mean := float64(sum) / float64(s.at-at)
		line = append(line, p.point(at, mean), p.point(s.at, mean))
		before, at = s.record.Connected, s.at
	}
	p.pic.line([]point{p.point(0, wanted), p.point(at, wanted)}, paint{stroke: frameColor, width: 1, dashes: "5 4"})
	p.pic.line(line, paint{stroke: lineColor, width: 2})
	p.legend(0, "connected", paint{fill: lineColor})
	p.legend(1, "wanted", paint{fill: frameColor})
}

// drawShares draws a band for each class, one upon the other.
func drawShares(p *panel, h history) {
	classes := len(h[0].record.Connected)
	before := make([]time.Duration, classes)
	floor := make([][]point, classes+1) // of each band; the last one is the top
	at := time.Duration(0)
	for _, s := range h {
		var sum time.Duration
		for class, d := range s.record.Connected {
			sum += d - before[class]
		}
		level := 0.0
		for class, d := range s.record.Connected {
			floor[class] = append(floor[class], p.point(at, level), p.point(s.at, level))
			level += float64(d-before[class]) / float64(max(sum, 1))
		}
		floor[classes] = append(floor[classes], p.point(at, level), p.point(s.at, level))
		before, at = s.record.Connected, s.at
	}
	for class, name := range classNames() {
		band := append([]point{}, floor[class]...)
		for i := len(floor[class+1]) - 1; i >= 0; i-- {
			band = append(band, floor[class+1][i])
		}
		if h.last().record.Connected[class] > 0 {
			p.pic.area(band, paint{fill: classColors[class]})
		}
		p.legend(class, name, paint{fill: classColors[class]})
	}
}

// answerTicks are the lines of the scale of answers, which is logarithmic.
var answerTicks = []time.Duration{
	10 * time.Millisecond, 30 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond,
	time.Second, 3 * time.Second, 10 * time.Second,
}

func answerLabel(t time.Duration) string {
	if t < time.Second {
		return fmt.Sprintf("%d ms", t/time.Millisecond)
	}
	return timeLabel(t)
}

// answerScale covers all that is drawn, between ticks.
func answerScale(h history) scale {
	low, high := time.Second, 300*time.Millisecond
	var before sample
	for _, s := range h {
		answers := s.record.Answers.Since(before.record.Answers)
		if before = s; answers.Count > 0 {
			low, high = min(low, answers.Quantile(0.5)), max(high, answers.Quantile(0.9))
		}
	}
	bottom, top := answerTicks[0], answerTicks[len(answerTicks)-1]
	for _, t := range answerTicks {
		if t <= low {
			bottom = t
		}
		if t >= high {
			top = min(top, t)
		}
	}
	return logarithmic(bottom.Seconds(), top.Seconds())
}

// drawAnswers draws lines, with gaps where nothing was answered.
func drawAnswers(p *panel, h history) {
	for i, q := range []struct {
		share       float64
		name, color string
	}{{0.9, "90% within", upperColor}, {0.5, "half within", lineColor}} {
		var line []point
		var before sample
		for _, s := range h {
			answers := s.record.Answers.Since(before.record.Answers)
			if answers.Count > 0 {
				v := answers.Quantile(q.share).Seconds()
				line = append(line, p.point(before.at, v), p.point(s.at, v))
			}
			if answers.Count == 0 || s.at == h.last().at {
				p.pic.line(line, paint{stroke: q.color, width: 2})
				line = nil
			}
			before = s
		}
		p.legend(i, q.name, paint{fill: q.color})
	}
}

// ---------------------------------------------------------------------------

// scale maps values to 0 … 1.
type scale func(v float64) float64

func linear(low, high float64) scale {
	return func(v float64) float64 { return (v - low) / (high - low) }
}

func logarithmic(low, high float64) scale {
	return func(v float64) float64 { return math.Log(v/low) / math.Log(high/low) }
}

// panel is one of the charts, which have the time in common.
type panel struct {
	pic         *svg
	top         float64
	left, right float64
	end         time.Duration
	y           scale
}

func newPanel(pic *svg, index int, title string, end time.Duration, y scale) *panel {
	p := &panel{
		pic: pic, top: titleHeight + 24 + float64(index)*(panelHeight+panelGap),
		left: leftMargin, right: pictureWidth - rightMargin, end: end, y: y,
	}
	pic.text(point{p.left, p.top - 8}, rightOf, textSize+1, title)
	for t := time.Duration(0); t <= end; t += timeStep(end) {
		x := p.point(t, 0).x
		pic.line([]point{{x, p.top}, {x, p.top + panelHeight}}, paint{stroke: gridColor, width: 1})
		pic.text(point{x, p.top + panelHeight + 16}, around, textSize, timeLabel(t))
	}
	return p
}

// timeSteps are distances of labels on the axis of time.
var timeSteps = []time.Duration{
	time.Second, 5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour,
	2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
}

// timeStep returns the distance with which there are at most 13 labels.
func timeStep(end time.Duration) time.Duration {
	const most = 13
	for _, step := range timeSteps {
		if end/step < most {
			return step
		}
	}
	day := timeSteps[len(timeSteps)-1]
	return (end/(most-1)/day + 1) * day
}

func timeLabel(t time.Duration) string {
	switch {
	case t == 0:
		return "0"
	case t%time.Hour == 0:
		return fmt.Sprintf("%d h", t/time.Hour)
	case t%time.Minute == 0:
		return fmt.Sprintf("%d min", t/time.Minute)
	default:
		return fmt.Sprintf("%d s", t/time.Second)
	}
}

// point returns where a value stands; values beyond the scale stand at its end.
func (p *panel) point(t time.Duration, v float64) point {
	share := min(max(p.y(v), 0), 1)
	return point{p.left + (p.right-p.left)*float64(t)/float64(p.end), p.top + panelHeight*(1-share)}
}

// grid draws a labelled line, if it is on the scale.
func (p *panel) grid(v float64, label string) {
	if share := p.y(v); share < -1e-9 || share > 1+1e-9 {
		return
	}
	from, to := p.point(0, v), p.point(p.end, v)
	p.pic.line([]point{from, to}, paint{stroke: gridColor, width: 1})
	p.pic.text(point{from.x - 8, from.y + 4}, leftOf, textSize, label)
}

func (p *panel) frame() {
	p.pic.rect(point{p.left, p.top}, p.right-p.left, panelHeight, paint{stroke: frameColor, width: 1})
}

// legend names a color beside the panel.
func (p *panel) legend(row int, name string, color paint) {
	at := point{p.right + 14, p.top + 4 + 20*float64(row)}
	p.pic.rect(at, 14, 12, color)
	p.pic.text(point{at.x + 22, at.y + 11}, rightOf, textSize, name)
}

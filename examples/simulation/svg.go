package main

import (
	"fmt"
	"html"
	"strconv"
	"strings"
)

// svg is a picture that is being drawn. Coordinates are pixels from the top left
// corner.
type svg struct {
	width, height float64
	body          strings.Builder
}

type point struct{ x, y float64 }

// paint is how something is drawn; empty parts are left out.
type paint struct {
	fill, stroke string
	width        float64
	dashes       string
}

func (p paint) attributes() string {
	var a strings.Builder
	fmt.Fprintf(&a, ` fill="%s"`, orNone(p.fill))
	if p.stroke != "" {
		fmt.Fprintf(&a, ` stroke="%s" stroke-width="%s" stroke-linejoin="round"`, p.stroke, px(p.width))
	}
	if p.dashes != "" {
		fmt.Fprintf(&a, ` stroke-dasharray="%s"`, p.dashes)
	}
	return a.String()
}

func orNone(color string) string {
	if color == "" {
		return "none"
	}
	return color
}

// px writes a coordinate with one digit after the point, which is finer than
// screens are.
func px(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

func coordinates(points []point) string {
	pairs := make([]string, len(points))
	for i, p := range points {
		pairs[i] = px(p.x) + "," + px(p.y)
	}
	return strings.Join(pairs, " ")
}

func (s *svg) line(points []point, p paint) {
	fmt.Fprintf(&s.body, "<polyline points=\"%s\"%s/>\n", coordinates(points), p.attributes())
}

func (s *svg) area(points []point, p paint) {
	fmt.Fprintf(&s.body, "<polygon points=\"%s\"%s/>\n", coordinates(points), p.attributes())
}

func (s *svg) rect(corner point, width, height float64, p paint) {
	fmt.Fprintf(&s.body, "<rect x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\"%s/>\n",
		px(corner.x), px(corner.y), px(width), px(height), p.attributes())
}

// Where a text stands beside its point.
const (
	rightOf = "start"
	around  = "middle"
	leftOf  = "end"
)

func (s *svg) text(at point, where string, size float64, text string) {
	fmt.Fprintf(&s.body, "<text x=\"%s\" y=\"%s\" text-anchor=\"%s\" font-size=\"%s\">%s</text>\n",
		px(at.x), px(at.y), where, px(size), html.EscapeString(text))
}

// String returns the picture as a file. It has a background of its own, since
// its colors suit no other.
func (s *svg) String() string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]s %[2]s" width="%[1]s" height="%[2]s" font-family="system-ui, sans-serif" fill="#333">
<rect width="100%%" height="100%%" fill="#fff"/>
%[3]s</svg>
`, px(s.width), px(s.height), s.body.String())
}

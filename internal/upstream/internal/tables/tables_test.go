package tables

import (
	"slices"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{7}, 7},
		{[]float64{9, 1, 5}, 5},
		{[]float64{9, 1, 5, 1000}, 7},
		{[]float64{3, 3, 3, 0}, 3},
	} {
		before := slices.Clone(test.values)
		if got := Median(test.values); got != test.want {
			t.Errorf("Median(%v) = %v, want %v", test.values, got, test.want)
		}
		if !slices.Equal(before, test.values) {
			t.Errorf("median changed its argument to %v", test.values)
		}
	}
}

func TestFormatLinesUp(t *testing.T) {
	got := Format([]Row{{"work", "ours", ""}, {"µ", "1 µs", "ok"}})
	want := "" +
		"| work | ours |    |\n" +
		"|------|-----:|----|\n" +
		"| µ    | 1 µs | ok |\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if Format([]Row{{"only", "a head"}}) != "" {
		t.Error("a table without rows")
	}
}

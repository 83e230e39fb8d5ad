package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lespool/lespool/internal/testutil/simnet"
)

// The same seed gives the same text and the same picture, bit for bit, and
// nothing runs beside; another seed gives others.
func TestSameSeedSameResult(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			opt := options{servers: 500, hours: 1, seed: 3, scenario: sc.name}
			text, picture := outcomeOf(t, opt)
			again, pictureAgain := outcomeOf(t, opt)
			require.Equal(t, text, again)
			require.Equal(t, picture, pictureAgain)
			opt.seed++
			other, _ := outcomeOf(t, opt)
			require.NotEqual(t, text, other)
		})
	}
}

// In half a day the client finds its servers and keeps them.
func TestUsualDay(t *testing.T) {
	text, _ := outcomeOf(t, options{servers: 2000, hours: 12, seed: 1, scenario: "usual"})
	require.Regexp(t, `first server after +[\d.]+ s`, text)
	require.Regexp(t, `5 servers after +[\d.]+ s, \d+ dials and \d+ queries`, text)
	require.Regexp(t, `sybils 0\.0%`, text)
	require.Contains(t, text, "\n12h00m ")
	require.Equal(t, samples/reporting, len(regexp.MustCompile(`(?m)^\d+h\d\dm |^\d+m\d\ds `).FindAllString(text, -1)))
}

// After a clean end and after a crash there is a second table.
func TestStartsAgain(t *testing.T) {
	for _, name := range []string{"restart", "crash"} {
		text, _ := outcomeOf(t, options{servers: 2000, hours: 2, seed: 1, scenario: name})
		require.Equal(t, 2, strings.Count(text, "first server after"), name)
		require.Contains(t, text, "after the start again, 10m0s:")
	}
}

// What a crash loses is not in the store that the next start reads.
func TestCrashForgetsWhatIsWrittenLater(t *testing.T) {
	for _, crash := range []bool{false, true} {
		sc := scenario{crash: crash}
		w, err := newWorld(sc, simnet.Default(1))
		require.NoError(t, err)
		h, err := w.play(time.Second, func(sample) {})
		require.NoError(t, err)
		require.Len(t, h, samples)
		require.Equal(t, crash, w.store.Len() == 0, "a pool saves at its end at the latest")
	}
}

func TestScenariosChangeTheNetwork(t *testing.T) {
	usual := scenarios[0].network(100, 1, time.Hour)
	for _, sc := range scenarios {
		c := sc.network(100, 1, time.Hour)
		_, err := newWorld(sc, c)
		require.NoError(t, err, sc.name)
		require.Equal(t, sc.edit != nil, !equalNetworks(usual, c), sc.name)
	}
}

func TestVariationsAreByHalfAndByDouble(t *testing.T) {
	base := simnet.Default(1)
	for i, v := range variations {
		c := simnet.Default(1)
		v.edit(&c)
		_, err := newWorld(scenarios[0], c)
		require.NoError(t, err, v.name)
		require.Equal(t, i > 0, !equalNetworks(base, c), v.name)
		factor := map[bool]float64{true: 0.5, false: 2}[strings.HasPrefix(v.name, "half")]
		switch {
		case strings.HasSuffix(v.name, "servers"):
			require.Equal(t, int(factor*2000), c.Servers)
		case strings.HasSuffix(v.name, "good ones"):
			require.InDelta(t, factor*0.1, c.Classes[simnet.Good].Share, 1e-9)
		case strings.HasSuffix(v.name, "latencies"):
			require.Equal(t, factor, c.Latency)
			require.InDelta(t, factor*float64(base.Classes[0].ThinkMax), float64(c.Classes[0].ThinkMax), 1)
		case strings.HasSuffix(v.name, "room"):
			require.InDelta(t, factor*0.05, 1-c.Full, 1e-9)
		}
	}
}

func TestSensitivityTable(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(options{servers: 300, hours: 0.2, seed: 1, scenario: sensitivity, runs: 2}, &out))
	rows := strings.Split(strings.TrimSpace(out.String()), "\n")[2:]
	require.Len(t, rows, 2+len(variations))
	for _, row := range rows {
		require.Equal(t, 2+len(outcomes), strings.Count(row, "|"), row)
	}
}

func TestMedian(t *testing.T) {
	require.Equal(t, 3., median([]float64{9, 3, 1}))
	require.Equal(t, 4., median([]float64{9, 3, 1, 5}))
}

func TestFlags(t *testing.T) {
	opt, err := parseFlags(nil, io.Discard)
	require.NoError(t, err)
	require.Equal(t, options{servers: 2000, hours: 24, seed: 1, scenario: "usual", runs: 5}, opt)
	for _, bad := range []string{
		"-servers 0", "-servers 20000000", "-hours 0", "-hours 1e-9", "-hours NaN", "-hours 1e9", "-runs 0", "-scenario nothing", "rest",
		"-scenario sensitivity -plot x.svg", "-seed -1",
	} {
		var out bytes.Buffer
		_, err := parseFlags(strings.Fields(bad), &out)
		require.Error(t, err, bad)
		require.NotEmpty(t, out.String(), bad)
	}
	var out bytes.Buffer
	_, err = parseFlags([]string{"-help"}, &out)
	require.True(t, errors.Is(err, flag.ErrHelp))
	for _, sc := range scenarios {
		require.Contains(t, out.String(), sc.title)
	}
}

func TestTinyAndShortWorlds(t *testing.T) {
	for _, opt := range []options{
		{servers: 1, hours: 1, scenario: "usual"},
		{servers: 3, hours: minHours, scenario: "crowd"},
		{servers: 10, hours: 1, scenario: "noudp"},
	} {
		text, picture := outcomeOf(t, opt)
		require.Contains(t, text, "never")
		require.NotContains(t, picture, "NaN")
		require.NotContains(t, text, "NaN")
	}
}

// The picture is well-formed, labelled, and within its frame.
func TestPicture(t *testing.T) {
	_, picture := outcomeOf(t, options{servers: 500, hours: 2, seed: 1, scenario: "sybils"})
	var texts []string
	for d := xml.NewDecoder(strings.NewReader(picture)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		switch token := token.(type) {
		case xml.CharData:
			texts = append(texts, strings.TrimSpace(string(token)))
		case xml.StartElement:
			for _, a := range token.Attr {
				require.NotContains(t, a.Value, "NaN")
				require.NotContains(t, a.Value, "Inf")
			}
		}
	}
	for _, label := range []string{
		"connections", "connected", "wanted", "good", "average", "poor", "sybils", "half within", "90% within",
		"0%", "100%", "2 h", "1 s", "500 servers, seed 1, 2 hours",
	} {
		require.Contains(t, texts, label)
	}
	for _, pair := range regexp.MustCompile(`[-\d.]+,[-\d.]+`).FindAllString(picture, -1) {
		x, y, _ := strings.Cut(pair, ",")
		require.True(t, within(x, leftMargin, pictureWidth-rightMargin) && within(y, titleHeight, 800), pair)
	}
}

func TestTextsAreEscaped(t *testing.T) {
	s := &svg{width: 10, height: 10}
	s.text(point{}, rightOf, 12, "<a & b>")
	require.Contains(t, s.String(), "&lt;a &amp; b&gt;")
}

func TestTimeAxis(t *testing.T) {
	for end, want := range map[time.Duration]time.Duration{
		10 * time.Second: time.Second, time.Minute: 5 * time.Second, time.Hour: 5 * time.Minute,
		24 * time.Hour: 2 * time.Hour, 30 * time.Hour: 3 * time.Hour, 1000 * time.Hour: 96 * time.Hour,
	} {
		require.Equal(t, want, timeStep(end), "%v", end)
		require.LessOrEqual(t, end/timeStep(end), time.Duration(12))
	}
	require.Equal(t, "0 5 s 2 min 3 h 36 h", strings.Join([]string{
		timeLabel(0), timeLabel(5 * time.Second), timeLabel(2 * time.Minute), timeLabel(3 * time.Hour), timeLabel(36 * time.Hour),
	}, " "))
}

func TestClockTime(t *testing.T) {
	require.Equal(t, "0m05s 59m59s 1h00m 25h30m", strings.Join([]string{
		clockTime(5 * time.Second), clockTime(time.Hour - time.Second), clockTime(time.Hour), clockTime(25*time.Hour + 30*time.Minute),
	}, " "))
}

func TestScales(t *testing.T) {
	require.InDelta(t, 0.5, linear(2, 6)(4), 1e-9)
	require.InDelta(t, 0.5, logarithmic(0.1, 10)(1), 1e-9)
	require.True(t, math.IsInf(logarithmic(0.1, 10)(0), -1))
	p := &panel{top: 10, left: 20, right: 120, end: time.Hour, y: logarithmic(0.1, 10)}
	require.Equal(t, point{70, 10 + panelHeight}, p.point(time.Hour/2, 0), "what is off the scale stands at its end")
}

// ---------------------------------------------------------------------------

// outcomeOf returns what a run prints and draws.
func outcomeOf(t *testing.T, opt options) (text, picture string) {
	t.Helper()
	var out bytes.Buffer
	opt.plot = filepath.Join(t.TempDir(), "run.svg")
	require.NoError(t, run(opt, &out))
	drawn, err := os.ReadFile(opt.plot)
	require.NoError(t, err)
	return out.String(), string(drawn)
}

func equalNetworks(a, b simnet.Config) bool { return reflect.DeepEqual(a, b) }

func within(text string, low, high float64) bool {
	v, err := strconv.ParseFloat(text, 64)
	return err == nil && v >= low && v <= high
}

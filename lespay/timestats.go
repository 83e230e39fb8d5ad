package lespay

import (
	"fmt"
	"io"
	"math"
	"time"

	"github.com/ethereum/go-ethereum/rlp"
)

const (
	timeBins = 32           // bins of a distribution
	lastBin  = timeBins - 1 // answers of 10 s and more, and requests that failed

	// The time axis is linear up to minRespTime. Growing it spreads the fast
	// answers over fewer bins and leaves more of them for the slow ones.
	minRespTime = 50 * time.Millisecond
	// Everything from maxRespTime on is in the last bin. Growing it makes all
	// bins above minRespTime wider.
	maxRespTime = 10 * time.Second

	// weightUnit is what an answer worth one average request adds to the bins.
	// Growing it makes rounding finer and brings the end of uint64 nearer. It
	// is part of the stored format, like the two times above.
	weightUnit = 1e6
)

// timeScale stretches the axis so that maxRespTime is at the last bin.
var timeScale = lastBin / (math.Log(float64(maxRespTime)/float64(minRespTime)) + 1)

// binTimes are the response times that the bins stand for.
var binTimes = func() (t [timeBins]time.Duration) {
	for i := range t {
		t[i] = StatScaleToTime(float64(i))
	}
	return
}()

// TimeToStatScale returns the position of a response time on the axis of a
// [ResponseTimeStats], in [0, 31]: with r = d/50ms it is s(r)·31/(ln 200 + 1),
// where s is r up to 1 and ln r + 1 above. Times out of range give the ends.
func TimeToStatScale(d time.Duration) float64 {
	switch {
	case d <= 0:
		return 0
	case d >= maxRespTime:
		return lastBin
	}
	r := float64(d) * (1 / float64(minRespTime))
	if r > 1 {
		r = ln(r) + 1
	}
	if r *= timeScale; r < lastBin {
		return r
	}
	return lastBin
}

// StatScaleToTime is the inverse of [TimeToStatScale]. Positions above 31 go on
// along the same curve, up to the longest time.Duration; negative ones and NaN
// give 0.
func StatScaleToTime(pos float64) time.Duration {
	r := pos / timeScale
	if r > 1 {
		r = math.Exp(r - 1)
	}
	switch t := r * float64(minRespTime); {
	case t >= 1<<63:
		return math.MaxInt64
	case t > 0:
		return time.Duration(t)
	}
	return 0
}

// ResponseTimeWeights are factors for the bins of a [ResponseTimeStats].
type ResponseTimeWeights [timeBins]float64

// TimeoutWeights says what an answer is worth to somebody who would like it
// within the timeout: 1 at once, falling as cos(π/2·t/timeout) to 0 at the
// timeout and to −1 at twice the timeout and above. The last bin holds the
// requests that failed and always counts −1.
func TimeoutWeights(timeout time.Duration) (w ResponseTimeWeights) {
	for i, t := range binTimes {
		w[i] = -1
		if i != lastBin && float64(t) < 2*float64(timeout) {
			w[i] = math.Cos(math.Pi / 2 * float64(t) / float64(timeout))
		}
	}
	return w
}

// ResponseTimeStats is a distribution over response time of answers weighted
// by their value, of one server or of many. It has 32 bins; an answer between
// two of them is split. The last bin holds what came after 10 s or more and
// what failed.
//
// All bins have one exponent and decay together, like [ExpiredValue]. The RLP
// form is the list [list of 32 bins, exponent]. The zero value is empty. It is
// not safe for concurrent use; copies are independent.
type ResponseTimeStats struct {
	stats [timeBins]uint64
	exp   uint64
}

// Add adds one answer. The weight is in average requests; one that is not
// positive adds nothing.
func (rt *ResponseTimeStats) Add(respTime time.Duration, weight float64, expFactor ExpirationFactor) {
	rt.raise(expFactor.Exp)
	weight = scalePow2(weight*expFactor.factor()*weightUnit, expFactor.Exp, rt.exp)
	addToBins(&rt.stats, TimeToStatScale(respTime), weight)
}

// addToBins splits an inflated weight between the two bins next to pos, which
// is in [0, 31], in proportion to the distance.
func addToBins(bins *[timeBins]uint64, pos, weight float64) {
	i := uint(int(pos))
	if i >= lastBin {
		bins[lastBin] = addSat(bins[lastBin], floatToUint64(weight))
		return
	}
	upper := floatToUint64(weight * (pos - float64(int(i))))
	lower := floatToUint64(weight) - upper
	bins[i] = addSat(bins[i], lower)
	bins[i+1] = addSat(bins[i+1], upper)
}

// AddStats adds another distribution.
func (rt *ResponseTimeStats) AddStats(s *ResponseTimeStats) { rt.addBins(&s.stats, s.exp) }

// addBins adds bins whose exponent is exp.
func (rt *ResponseTimeStats) addBins(bins *[timeBins]uint64, exp uint64) {
	rt.raise(exp)
	down := rt.exp - exp
	for i, v := range bins {
		if v != 0 {
			rt.stats[i] = addSat(rt.stats[i], v>>down)
		}
	}
}

// SubStats subtracts another distribution; bins stop at 0.
func (rt *ResponseTimeStats) SubStats(s *ResponseTimeStats) {
	rt.raise(s.exp)
	down := rt.exp - s.exp
	for i, v := range s.stats {
		rt.stats[i] = subSat(rt.stats[i], v>>down)
	}
}

// raise brings the bins to a larger exponent; a smaller one changes nothing.
func (rt *ResponseTimeStats) raise(exp uint64) {
	if exp <= rt.exp {
		return
	}
	down := exp - rt.exp
	for i := range rt.stats {
		rt.stats[i] >>= down
	}
	rt.exp = exp
}

// Value returns the sum of the bins, each times its weight, in average
// requests at present. It is not below 0.
func (rt ResponseTimeStats) Value(weights ResponseTimeWeights, expFactor ExpirationFactor) float64 {
	var sum float64
	for i, v := range rt.stats {
		sum += float64(v) * weights[i]
	}
	return expFactor.Value(sum/weightUnit, rt.exp)
}

// Timeout returns the time that the slowest failRatio of the answers exceed, by
// weight, at most 10 s. The last bin does not count: requests that failed say
// nothing about how long the others take, and with them in it a server that
// fails often would be given ever more time. The ratio is limited to [0, 1];
// NaN counts as 0. Without any answer nothing is known, and the result is 10 s.
func (rt ResponseTimeStats) Timeout(failRatio float64) time.Duration {
	var total float64
	for _, v := range rt.stats[:lastBin] {
		total += float64(v)
	}
	if total == 0 {
		return maxRespTime
	}
	if !(failRatio > 0) {
		failRatio = 0
	}
	rest := total * min(failRatio, 1)
	for i := lastBin - 1; i >= 0; i-- {
		bin := float64(rt.stats[i])
		if bin > 0 && rest <= bin {
			return min(StatScaleToTime(float64(i)+0.5-rest/bin), maxRespTime)
		}
		rest -= bin
	}
	return 0
}

// RtDistribution is a distribution to look at: for each bin the response time
// in seconds and the amount.
type RtDistribution [timeBins][2]float64

// Distribution returns the bins, the failures' bin included. Amounts are in
// average requests at present, or sum up to 1 if normalized; of an empty
// distribution all are 0.
func (rt ResponseTimeStats) Distribution(normalized bool, expFactor ExpirationFactor) (res RtDistribution) {
	var total float64
	for _, v := range rt.stats {
		total += float64(v)
	}
	for i, v := range rt.stats {
		res[i][0] = binTimes[i].Seconds()
		switch {
		case !normalized:
			res[i][1] = expFactor.Value(float64(v)/weightUnit, rt.exp)
		case total > 0:
			res[i][1] = float64(v) / total
		}
	}
	return res
}

// weightLog2 returns the binary logarithms of two weights that do not depend on
// when they are asked for: log2(weight in average requests at log offset L) + L.
// rank is of the good answers less the failed ones, total is of both. Nothing
// at all gives −Inf.
func (rt *ResponseTimeStats) weightLog2() (rank, total float64) {
	var good uint64
	for _, v := range rt.stats[:lastBin] {
		good = addSat(good, v)
	}
	failed := rt.stats[lastBin]
	log2 := func(sum uint64) float64 {
		return math.Log2(float64(sum)/weightUnit) + float64(rt.exp)
	}
	return log2(subSat(good, failed)), log2(addSat(good, failed))
}

// EncodeRLP implements [rlp.Encoder].
func (rt ResponseTimeStats) EncodeRLP(w io.Writer) error {
	buf := rlp.NewEncoderBuffer(w)
	rt.encode(buf)
	return buf.Flush()
}

func (rt *ResponseTimeStats) encode(buf rlp.EncoderBuffer) {
	outer := buf.List()
	inner := buf.List()
	for _, v := range rt.stats {
		buf.WriteUint64(v)
	}
	buf.ListEnd(inner)
	buf.WriteUint64(rt.exp)
	buf.ListEnd(outer)
}

// DecodeRLP implements [rlp.Decoder]. On an error rt is left as it was.
func (rt *ResponseTimeStats) DecodeRLP(s *rlp.Stream) error {
	var rec ResponseTimeStats
	if err := rec.decode(s); err != nil {
		return fmt.Errorf("response time statistics: %w", err)
	}
	*rt = rec
	return nil
}

func (rt *ResponseTimeStats) decode(s *rlp.Stream) (err error) {
	if _, err = s.List(); err != nil {
		return err
	}
	if _, err = s.List(); err != nil {
		return err
	}
	for i := range rt.stats {
		if rt.stats[i], err = s.Uint64(); err != nil {
			return err
		}
	}
	if err = s.ListEnd(); err != nil {
		return err
	}
	if rt.exp, err = s.Uint64(); err != nil {
		return err
	}
	return s.ListEnd()
}

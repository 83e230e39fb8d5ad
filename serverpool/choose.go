package serverpool

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"

	"github.com/lespool/lespool/lespay"
)

// Which connected server is worth replacing.
//
// The model is the marginal value theorem (Charnov, "Optimal foraging, the
// marginal value theorem", 1976): a forager leaves a patch when what it gives
// falls below what the habitat gives on average over the long run, the ways
// between patches included. Here a patch is a server, and what it gives is the
// mean of its answers' scores (see score). A slot that goes on replacing servers
// until it has one that gives at least z, and keeps that one for a typical
// session, gets on average
//
//	R(z) = (Σ q≥z: q·H + Σ q<z: q·τ − Σ δ) / (Σ q≥z: H + Σ q<z: τ + Σ δ)
//
// where the sums are over what the servers gave that were tried lately, H is how
// long sessions last, τ how long it takes to see that a server is not good
// enough, and δ what it costs to get from one to the next, a time in which the slot
// gives −1, the least there is. The best R(z) is what a slot should give. A server
// is worth replacing when even the upper confidence bound of what it gives is below
// that; the bound is the one of UCB-V (Audibert, Munos, Szepesvári,
// "Exploration-exploitation tradeoff using variance estimates", 2009).
//
// So where all servers are alike the cost of moving keeps all of them, and where
// good ones are rare it depends on how rare they are and on how long they stay.
// H, τ and what servers give are learned; the constants below are what is
// believed before that. A little hope is added to what was seen: that there is a
// server as far above the mean as two standard deviations.

const (
	// maxTried is how many of the latest servers speak for the next one. More
	// know rarer kinds of servers, fewer follow the network closer.
	maxTried = 64
	// hope is how many servers better than all that were tried are believed in.
	// More search longer before they take what they get for the best.
	hope = 2
	// hopeSpread is how different servers are believed to be, from before any was
	// tried, as a standard deviation of scores: a factor of three to four in time.
	hopeSpread = 0.4
	// priorSession is the session length that the first observations are added
	// to, and priorTrial the time that it takes to find a server not good enough.
	// Longer sessions, and shorter trials, make a longer search worth while.
	priorSession = time.Hour
	priorTrial   = time.Minute
	// trialWeight is how many observations priorTrial counts for.
	trialWeight = 3
	// moveCost is δ: a gap in service, a dial, some queries. More replaces less.
	moveCost = 20 * time.Second
	// minGain is how much better a slot has to become. More replaces less.
	minGain = 0.05

	// minAnswers and minTrial are the least evidence about a server, in average
	// requests and in time connected. More gives servers longer to warm up.
	minAnswers = 30
	minTrial   = 15 * time.Second
	// answersDecay is the time in which old answers lose most of their weight.
	// Less notices sooner when a server becomes worse, more judges by more.
	answersDecay = 10 * time.Minute
	// doubt is the probability that a server is better than its bound. Less asks
	// for more evidence.
	doubt = 0.05

	// dropPause is the time between two replacements. More is calmer, less leaves
	// a bad start sooner.
	dropPause = 5 * time.Second
	// dropWait is the least redial wait of a server that was replaced. More keeps
	// the pool from coming back to it, less lets it show that it has improved.
	dropWait = 30 * time.Minute
)

// score is what an answer in a bin of the response time statistics is worth to
// the choice: 1 at once, −1 for one that failed or took 10 s. In between it falls
// with the logarithm of the time, so that to halve the time is as good for slow
// servers as for fast ones.
func score(bin, bins int) float64 { return 1 - 2*float64(bin)/float64(bins-1) }

// scoreOf is the score of an answer that took some time.
func scoreOf(d time.Duration) float64 {
	return score(int(lespay.TimeToStatScale(d)), len(lespay.RtDistribution{}))
}

// tally sums up the scores of a server's answers.
type tally struct{ answers, sum, squares float64 }

// add counts the answers of a distribution; amounts are in average requests.
func (t *tally) add(d lespay.RtDistribution) {
	for bin, v := range d {
		x := score(bin, len(d))
		t.answers += v[1]
		t.sum += v[1] * x
		t.squares += v[1] * x * x
	}
}

// decay takes weight from the answers so far.
func (t *tally) decay(d time.Duration) {
	f := math.Exp(-float64(d) / float64(answersDecay))
	t.answers, t.sum, t.squares = t.answers*f, t.sum*f, t.squares*f
}

// enough tells whether the mean says anything.
func (t tally) enough() bool { return t.answers >= minAnswers }

func (t tally) mean() float64 { return t.sum / max(t.answers, 1) }

// upper is the bound that the true mean is not above, but for the doubt.
func (t tally) upper() float64 {
	const span = 2 // from −1 to 1
	n, mean, log := max(t.answers, 1), t.mean(), -math.Log(doubt)
	variance := max(t.squares/n-mean*mean, 0)
	return mean + math.Sqrt(2*variance*log/n) + 3*span*log/n
}

// seated is a connected server, as the chooser sees it.
type seated struct {
	tally
	since mclock.AbsTime // when it connected
	stays bool           // whatever it gives
}

// chooser learns what servers of this network give and how long they stay. It is
// not safe for concurrent use.
type chooser struct {
	tried [maxTried]float64 // mean scores of the latest servers that were judged
	count int               // servers ever judged

	stayed   time.Duration // sum of all sessions
	left     int           // sessions that we did not end
	trials   time.Duration // sum of the sessions that ended in a replacement
	replaced int           // of these

	limit    float64 // servers below it are worth replacing, when it was set last
	lastDrop mclock.AbsTime
	dropped  bool
}

// ended takes the result of a session. byUs tells that the pool asked for its
// end.
func (c *chooser) ended(t tally, lasted time.Duration, byUs bool) {
	c.stayed += lasted
	if byUs {
		c.replaced++
		c.trials += lasted
	} else {
		c.left++
	}
	c.note(t)
}

// note remembers what a server gave, if enough is known of it.
func (c *chooser) note(t tally) {
	if t.enough() {
		c.tried[c.count%maxTried] = t.mean()
		c.count++
	}
}

// session is H, the mean length of a session that we do not end: time at risk
// divided by the number of ends.
func (c *chooser) session() time.Duration {
	return (priorSession + c.stayed) / time.Duration(1+c.left)
}

// trial is τ.
func (c *chooser) trial() time.Duration {
	τ := (trialWeight*priorTrial + c.trials) / time.Duration(trialWeight+c.replaced)
	return min(τ, c.session())
}

// aspiration returns what a slot should give, in the light of the servers that
// were tried and of those connected now; −1 if nothing is known.
func (c *chooser) aspiration(now []seated) float64 {
	given := slices.Clone(c.tried[:min(c.count, maxTried)])
	count := float64(c.count)
	for _, s := range now {
		if s.enough() {
			given = append(given, s.mean())
			count++
		}
	}
	if len(given) == 0 {
		return -1
	}
	slices.SortFunc(given, func(a, b float64) int { return cmp.Compare(b, a) })
	// The more were tried, the less is left of the hope.
	hoped := hope * float64(len(given)) / count
	best, rest := hopeFor(given, count)
	h, τ, δ := c.session().Seconds(), c.trial().Seconds(), moveCost.Seconds()
	kept, keptSum, total := hoped, hoped*best, hoped+float64(len(given))
	gain := func() float64 {
		return (keptSum*h + rest*τ - total*δ) / (kept*h + (total-kept)*τ + total*δ)
	}
	r := gain()
	for _, q := range given {
		kept++
		keptSum += q
		rest -= q
		r = max(r, gain())
	}
	return r
}

// hopeFor returns what a better server than those would give, and the sum of
// what they gave. They are the latest of count servers.
func hopeFor(given []float64, count float64) (best, sum float64) {
	for _, q := range given {
		sum += q
	}
	n := float64(len(given))
	variance := hopeSpread * hopeSpread / (count + 1)
	for _, q := range given {
		variance += (q - sum/n) * (q - sum/n) / n
	}
	return min(sum/n+2*math.Sqrt(variance), 1), sum
}

// setLimit brings the limit up to date.
func (c *chooser) setLimit(now []seated) { c.limit = c.aspiration(now) - minGain }

// worst returns the index of the server that should be replaced, −1 for none.
func (c *chooser) worst(now mclock.AbsTime, servers []seated) int {
	c.setLimit(servers)
	if c.dropped && now.Sub(c.lastDrop) < dropPause {
		return -1
	}
	worst := -1
	for i, s := range servers {
		if s.stays || !s.enough() || now.Sub(s.since) < minTrial || s.upper() >= c.limit {
			continue
		}
		if worst < 0 || s.mean() < servers[worst].mean() {
			worst = i
		}
	}
	return worst
}

// drop notes that a server was asked to go.
func (c *chooser) drop(now mclock.AbsTime) { c.lastDrop, c.dropped = now, true }

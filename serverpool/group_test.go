package serverpool

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A goroutine that has nothing left to do takes the next function, or ends.
func TestGoroutinesRestForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g group
		goroutines := func() int {
			g.mu.Lock()
			defer g.mu.Unlock()
			return g.mu.n
		}
		ran := 0
		one := func() { ran++ }
		for range 100 {
			g.run(one)
			synctest.Wait()
			time.Sleep(restTime - 1)
		}
		require.Equal(t, 1, goroutines())
		release := make(chan struct{})
		for range 3 {
			g.run(func() { <-release })
		}
		require.Equal(t, 3, goroutines(), "none waits for another")
		close(release)
		synctest.Wait()
		require.Equal(t, 3, goroutines())
		time.Sleep(2 * restTime)
		synctest.Wait()
		require.Zero(t, goroutines())
		require.Equal(t, 100, ran)
	})
}

func TestGroupWaitsForNoneThatRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g group
		began := time.Now()
		for _, f := range []func(){func() {}, runtime.Goexit} {
			g.run(f)
		}
		synctest.Wait()
		require.True(t, g.wait(time.Hour))
		g.run(func() { time.Sleep(time.Minute) })
		require.False(t, g.wait(time.Second))
		require.True(t, g.wait(time.Hour))
		require.Equal(t, time.Minute, time.Since(began))
	})
}

// Functions are not lost, also when they come just as goroutines stop resting.
func TestGroupRunsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g group
		const count = 1000
		ran := make(chan struct{}, count)
		for i := range count {
			g.run(func() { ran <- struct{}{} })
			if i%3 == 0 {
				time.Sleep(restTime)
			}
		}
		require.True(t, g.wait(time.Hour))
		require.Len(t, ran, count)
	})
}

package drain_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/conclave-llm/conclave/proxy/drain"
)

func TestBegin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		d, err := drain.New(1, reg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, leave := context.WithCancel(t.Context())
		first, endFirst := d.Begin(ctx, time.Minute)
		second, endSecond := d.Begin(ctx, time.Minute)
		third, endThird := d.Begin(ctx, time.Minute)
		endThird() // before its client leaves
		leave()
		synctest.Wait()
		if first.Err() != nil { // which of the two got the place is chance
			first, second, endFirst, endSecond = second, first, endSecond, endFirst
		}
		if first.Err() != nil || !errors.Is(context.Cause(second), drain.ErrMany) || third.Err() == nil {
			t.Fatalf("got %v, %v, %v, want one place", first.Err(), context.Cause(second), third.Err())
		}
		endSecond()
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if first.Err() != nil {
			t.Fatal("an answer was cut before its time")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !errors.Is(context.Cause(first), drain.ErrLate) {
			t.Fatalf("got %v, want ErrLate", context.Cause(first))
		}
		endFirst()
		endFirst()
		again, endAgain := d.Begin(ctx, time.Minute)
		synctest.Wait()
		if again.Err() != nil {
			t.Fatal("the place was not given back")
		}
		endAgain()
		want := `
# HELP conclave_drained_answers_total Answers whose clients left first, where on_disconnect is drain, by what came of them: ended, late or refused.
# TYPE conclave_drained_answers_total counter
conclave_drained_answers_total{result="ended"} 1
conclave_drained_answers_total{result="late"} 1
conclave_drained_answers_total{result="refused"} 1
# HELP conclave_draining_answers Answers that are read to their end though their clients have left.
# TYPE conclave_draining_answers gauge
conclave_draining_answers 0
`
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
	})
}

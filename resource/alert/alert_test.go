package alert_test

import (
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/alert"
	"github.com/conclave-llm/conclave/resource/channel"
)

func TestPercent(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		settled, limit resource.Money
		want           int64
	}{
		{0, 100, 0},
		{-5, 100, 0},
		{5, 0, 0},
		{79, 100, 79},
		{799, 1000, 79},
		{800, 1000, 80},
		{1001, 1000, 100},
		{math.MaxInt64, 1, math.MaxInt64},
		{math.MaxInt64, math.MaxInt64, 100},
		{math.MaxInt64 - 1, math.MaxInt64, 99},
	} {
		if got := alert.Percent(tt.settled, tt.limit); got != tt.want {
			t.Errorf("Percent(%d, %d) = %d, want %d", tt.settled, tt.limit, got, tt.want)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		s, l := rapid.Int64Range(1, math.MaxInt64).Draw(rt, "settled"), rapid.Int64Range(1, math.MaxInt64).Draw(rt, "limit")
		want := new(big.Int).Div(new(big.Int).Mul(big.NewInt(s), big.NewInt(100)), big.NewInt(l))
		if !want.IsInt64() {
			want.SetInt64(math.MaxInt64)
		}
		if got := alert.Percent(resource.Money(s), resource.Money(l)); got != want.Int64() {
			rt.Fatalf("Percent(%d, %d) = %d, want %s", s, l, got, want)
		}
	})
}

// TestCrossed walks up in random steps: every threshold is crossed once, whatever the steps.
func TestCrossed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		at := rapid.SliceOfNDistinct(rapid.Int64Range(1, 1000), 0, 16, rapid.ID[int64]).Draw(rt, "thresholds")
		var got []int64
		reached := int64(0)
		for reached < 1000 {
			next := min(1000, reached+rapid.Int64Range(0, 400).Draw(rt, "step"))
			got = append(got, alert.Crossed(at, reached, next)...)
			reached = next
		}
		slices.Sort(at)
		if !slices.Equal(got, at) {
			rt.Fatalf("crossed %v, want %v", got, at)
		}
	})
}

func TestDeliveries(t *testing.T) {
	t.Parallel()
	a := &alert.Alert{}
	a.Note(alert.Delivery{Channel: "a", State: alert.Pending, Tries: 1, Error: "x"})
	a.Note(alert.Delivery{Channel: "a", State: alert.Dead, Tries: 9, Error: "y"})
	a.Note(alert.Delivery{Channel: "b", State: alert.Delivered})
	a.Note(alert.Delivery{Channel: "b", State: alert.Dead})
	if a.On("b").State != alert.Delivered || !a.IsDead() || a.On("c") != nil {
		t.Fatalf("got %+v", a.Deliveries)
	}
	a.Done = true
	if !a.Retry(7) || a.On("a").State != alert.Pending || a.On("b").State != alert.Delivered || a.Done || a.RetryAt != 7 || a.Retry(8) {
		t.Errorf("after Retry: %+v", a)
	}
}

func TestSentence(t *testing.T) {
	t.Parallel()
	a := &alert.Alert{Kind: channel.BudgetThreshold, Name: "research", Budget: &alert.BudgetWindow{
		Account: "team/t1/month", Threshold: 80, Limit: 100 * resource.Dollar, Settled: 81500 * resource.Dollar / 1000,
	}}
	if got, want := a.Sentence(), `The budget "month" of team "research" (t1) has reached 80 %: $81.5 of $100 are spent (81 %).`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	a.Kind, a.Budget.Unit, a.Budget.Refused = channel.BudgetExhausted, resource.UnitTokens, 12
	if got := a.Sentence(); !strings.Contains(got, "12 tokens does not fit") {
		t.Errorf("got %s", got)
	}
}

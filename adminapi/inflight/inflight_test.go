package inflight_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/inflight"
	"github.com/conclave-llm/conclave/llm"
)

func TestGate(t *testing.T) {
	t.Parallel()
	g := inflight.Gate{Most: 2}
	var leave []func()
	for range 2 {
		l, err := g.Enter(http.MethodPost)
		if err != nil {
			t.Fatal(err)
		}
		leave = append(leave, l)
	}
	_, err := g.Enter(http.MethodDelete)
	if e, ok := errors.AsType[*llm.Error](err); !ok || e.HTTPStatus() != http.StatusTooManyRequests || e.Code != "node_busy" || e.RetryAfter == 0 {
		t.Errorf("got %v", err)
	}
	if _, err := g.Enter(http.MethodGet); err != nil {
		t.Errorf("a read beside as many writes as may be: %v", err)
	}
	leave[0]()
	if _, err := g.Enter(http.MethodPost); err != nil {
		t.Errorf("after one was answered: %v", err)
	}
}

package translate_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/translate"
)

// A client that leaves while all parts wait for their provider ends the stream of all, however they end.
func TestMerge_ClientLeaves(t *testing.T) {
	t.Parallel()
	in, _ := provider.InboundOf(llm.Completions)
	out, _ := provider.OutboundOf(llm.Chat)
	for range 20 { // the parts that end and who waits for them see it in any order
		synctest.Test(t, func(t *testing.T) {
			x, err := translate.Read(in, []byte(`{"model":"m","prompt":["a","b","c"],"stream":true}`), "m", true)
			if err != nil || x.Prompts() != 3 {
				t.Fatalf("%d texts, %v", x.Prompts(), err)
			}
			ctx, leave := context.WithCancel(t.Context())
			m := x.Merge(ctx, out, make([][]byte, 3), func(ctx context.Context, _ int, _ []byte) (translate.Source, *translate.Part, error) {
				<-ctx.Done()
				return nil, nil, ctx.Err()
			}, nil)
			defer m.Close()
			go func() {
				synctest.Wait()
				leave()
			}()
			if _, err := m.Next(); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
}

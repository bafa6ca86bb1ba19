package pricing_test

import (
	"fmt"
	"math"
	"math/big"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/resource"
)

func dollars(t testing.TB, s string) resource.Money {
	t.Helper()
	m, err := resource.ParseMoney(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// priceOf returns a list price, or one of the two that users might set.
func priceOf(t testing.TB, name string) *resource.Price {
	t.Helper()
	switch name {
	case "custom":
		return &resource.Price{
			Input: dollars(t, "0.123456789"), Output: dollars(t, "7.000000001"), Classes: resource.Classes{
				CacheRead: new(dollars(t, "0.000000007")), CacheWrite: new(dollars(t, "9.99")), Reasoning: new(dollars(t, "0.5")),
			},
		}
	case "free":
		return &resource.Price{}
	}
	prov, model, _ := strings.Cut(name, "/")
	e, ok := pricing.Lookup(prov, model)
	if !ok {
		t.Fatalf("no price of %s", name)
	}
	return e.Price
}

// TestCost_Golden prices usage bodies in the shapes of many vendors. The file's columns are: what
// it shows, the body, its classes (input, cache read, cache write, output, reasoning), the price,
// and the cost in nanodollars.
func TestCost_Golden(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/usages.tsv")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(lines) < 60 {
		t.Fatalf("got %d bodies, want at least 60", len(lines))
	}
	for i, line := range lines {
		cols := strings.Split(line, "\t")
		t.Run(fmt.Sprintf("%d %s", i+1, cols[0]), func(t *testing.T) {
			t.Parallel()
			rep, err := llm.Read([]byte(cols[1]))
			if err != nil || !rep.HasUsage {
				t.Fatalf("no usage: %v", err)
			}
			u := rep.Usage
			if got := fmt.Sprintf("%d,%d,%d,%d,%d", u.Input, u.CacheRead, u.CacheWrite, u.Output, u.Reasoning); got != cols[2] {
				t.Errorf("got classes %s, want %s", got, cols[2])
			}
			want, err := strconv.ParseInt(cols[4], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if got := pricing.Cost(priceOf(t, cols[3]), u); int64(got) != want {
				t.Errorf("got %d, want %d nanodollars", got, want)
			}
		})
	}
}

func TestCost(t *testing.T) {
	t.Parallel()
	p := &resource.Price{Input: 1, Output: 2, Request: 5}
	for _, tt := range []struct {
		name  string
		price *resource.Price
		usage llm.Usage
		want  resource.Money
	}{
		{"unknown price", nil, llm.Usage{Input: 1000}, 0},
		{"nothing used", p, llm.Usage{}, 5},
		{"rounded up once", p, llm.Usage{Input: 1, Output: 1}, 6},
		{"not rounded", p, llm.Usage{Input: 1_000_000}, 6},
		{"negative counts as nothing", p, llm.Usage{Input: -1_000_000, Output: 500_000}, 6},
		{"classes without a price", p, llm.Usage{CacheRead: 1_000_000, CacheWrite: 1_000_000, Reasoning: 1_000_000}, 9},
		{"classes at no price", &resource.Price{Input: 1, Output: 1, Classes: resource.Classes{CacheRead: new(resource.Money(0)), Reasoning: new(resource.Money(0))}}, llm.Usage{CacheRead: 1 << 40, Reasoning: 1 << 40}, 0},
		{"served time, a part of a second", &resource.Price{Units: resource.Units{Second: 1_000_000_000_000}}, llm.Usage{Units: llm.Units{ServedMS: 1_234}}, 1_234_000},
		{"GPU time of a share of eight", &resource.Price{Units: resource.Units{GPUSecond: 555_555_555_555, GPUs: 250_000_000}}, llm.Usage{Units: llm.Units{ServedMS: 10_001}}, 1_389_028},
		{"GPU time of one", &resource.Price{Units: resource.Units{GPUSecond: 1}}, llm.Usage{Units: llm.Units{ServedMS: 1}}, 1},
		{"batch fee", &resource.Price{Request: 5}, llm.Usage{Service: llm.ServiceBatch, Input: 1}, 3},
		{"pixels", &resource.Price{Units: resource.Units{OutputPixel: 20_345}}, llm.Usage{Units: llm.Units{OutputPixels: 1 << 20}}, 21_334},
		{"a tier that the price does not know", p, llm.Usage{Service: llm.ServiceFlex, Input: 1_000_000}, 6},
		{"a class follows its nearest into a variant", &resource.Price{Input: 1, Output: 1, Variants: []resource.PriceVariant{{Above: 10, Output: new(resource.Money(9))}}}, llm.Usage{Input: 11, Reasoning: 1_000_000}, 10},
		{"the largest threshold", &resource.Price{Variants: []resource.PriceVariant{
			{Above: 100, Input: new(resource.Money(7_000_000))}, {Above: 10, Input: new(resource.Money(3_000_000))}, {Service: "flex", Input: new(resource.Money(1_000_000))},
		}}, llm.Usage{Input: 101, Service: llm.ServiceFlex}, 707},
		{"beyond all bounds", &resource.Price{Input: math.MaxInt64, Output: math.MaxInt64}, llm.Usage{Input: math.MaxInt64, Output: math.MaxInt64}, resource.MaxMoney},
		{"request beyond bounds", &resource.Price{Input: resource.Dollar, Request: resource.MaxMoney}, llm.Usage{Input: 1}, resource.MaxMoney},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := pricing.Cost(tt.price, tt.usage); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestBill(t *testing.T) {
	t.Parallel()
	p := &resource.Price{Input: 3 * resource.Dollar, Output: 15 * resource.Dollar, Request: 7}
	u := llm.Usage{Input: 1001, Output: 7} // 3,108,007 nanodollars
	for _, tt := range []struct {
		name string
		a    resource.Adjustment
		want resource.Money
	}{
		{"none", resource.Adjustment{}, 3_108_007},
		{"discount", resource.Adjustment{Discount: 50_000}, 2_952_607}, // 2,952,606.65
		{"margin", resource.Adjustment{Margin: 100_000}, 3_418_808},    // 3,418,807.7
		{"both, rounded once", resource.Adjustment{Discount: 123_456, Margin: 333_333}, 3_632_406},
		{"fixed", resource.Adjustment{Fixed: 100}, 3_108_107},
		{"all of it off", resource.Adjustment{Discount: 1_000_000, Fixed: 5}, 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := pricing.Bill(p, tt.a, u); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
	if got := pricing.Bill(nil, resource.Adjustment{Fixed: 5}, u); got != 0 {
		t.Errorf("an unknown price costs %d", got)
	}
}

// FuzzCost compares with arithmetic that cannot overflow.
func FuzzCost(f *testing.F) {
	f.Add(int64(3), int64(1), int64(5), int64(7))
	f.Add(int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), int64(1))
	f.Fuzz(func(t *testing.T, in, out, pin, pout int64) {
		got := pricing.Cost(&resource.Price{Input: resource.Money(pin), Output: resource.Money(pout)}, llm.Usage{Input: in, Output: out})
		sum := new(big.Int)
		for _, m := range [][2]int64{{in, pin}, {out, pout}} {
			if m[0] > 0 && m[1] > 0 {
				sum.Add(sum, new(big.Int).Mul(big.NewInt(m[0]), big.NewInt(m[1])))
			}
		}
		sum.Add(sum, big.NewInt(999_999)).Quo(sum, big.NewInt(1_000_000))
		if most := big.NewInt(int64(resource.MaxMoney)); sum.Cmp(most) > 0 {
			sum = most
		}
		if sum.Cmp(big.NewInt(int64(got))) != 0 {
			t.Fatalf("got %d, want %s", got, sum)
		}
	})
}

func TestEstimate(t *testing.T) {
	t.Parallel()
	p := &resource.Price{Input: resource.Dollar, Output: 2 * resource.Dollar, Classes: resource.Classes{CacheWrite: new(4 * resource.Dollar), Reasoning: new(3 * resource.Dollar)}}
	for _, tt := range []struct {
		name           string
		price          *resource.Price
		req            pricing.Request
		prompt, output int64
		cost           resource.Money
	}{
		{"no limit", p, pricing.Request{PromptBytes: 301}, 101, 4096, (101 + 3*4096) * 1000},
		{"limit of the request", p, pricing.Request{PromptBytes: 3, MaxTokens: 10, MaxOutput: 5}, 1, 10, 31_000},
		{"limit of the model", p, pricing.Request{PromptBytes: 3, MaxOutput: 5}, 1, 5, 16_000},
		{"default", p, pricing.Request{PromptBytes: 3, MaxOutput: 500, DefaultOutput: 100}, 1, 100, 301_000},
		{"choices", p, pricing.Request{PromptBytes: 3, MaxTokens: 10, N: 3}, 1, 30, 91_000},
		{"learned", p, pricing.Request{PromptBytes: 300, MaxTokens: 1, Factor: 0.5}, 50, 1, 53_000},
		{"strict", p, pricing.Request{PromptBytes: 300, MaxTokens: 1, Factor: 0.5, Strict: true}, 300, 1, 1_203_000},
		{"media", p, pricing.Request{PromptBytes: 6700, MediaBytes: 6400, MaxTokens: 1}, 200, 1, 203_000},
		{"strict media", p, pricing.Request{PromptBytes: 6700, MediaBytes: 6400, MaxTokens: 1, Strict: true}, 6700, 1, 26_803_000},
		{"window of the model", p, pricing.Request{PromptBytes: 1 << 40, MaxTokens: 1, MaxInput: 100}, 100, 1, 103_000},
		{"embeddings", p, pricing.Request{PromptBytes: 3, Endpoint: llm.Embeddings}, 1, 0, 1000},
		{"unknown price", nil, pricing.Request{PromptBytes: 3, MaxTokens: 1}, 1, 1, 0},
		{"absurd", p, pricing.Request{PromptBytes: math.MaxInt64, MaxTokens: math.MaxInt64, N: math.MaxInt64, Factor: 100}, math.MaxInt64, math.MaxInt64, resource.MaxMoney},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := pricing.Estimate(tt.price, tt.req)
			if want := (pricing.Estimated{Prompt: tt.prompt, Output: tt.output, Cost: tt.cost}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ provider, model, want string }{
		{"openai", "gpt-4o", "gpt-4o"},
		{"openai", "GPT-4o", "gpt-4o"},
		{"openai", "gpt-4o-2099-01-01", "gpt-4o"},
		{"openai", "gpt-4o-latest", "gpt-4o"},
		{"openai", "ft:gpt-4o-2024-08-06:acme::1", "ft:gpt-4o-2024-08-06"},
		{"anthropic", "claude-sonnet-4-5-20990101", "claude-sonnet-4-5"},
		{"groq", "no-such-model", ""},
		{"openai", "demo", ""},
		{"nobody", "gpt-4o", ""},
	} {
		e, ok := pricing.Lookup(tt.provider, tt.model)
		if ok != (tt.want != "") || ok && e.Model != tt.want {
			t.Errorf("Lookup(%s, %s) = %+v, want %q", tt.provider, tt.model, e, tt.want)
		}
	}
}

func TestLookup_Entry(t *testing.T) {
	t.Parallel()
	e, ok := pricing.Lookup("vertex_ai", "gemini-2.5-pro")
	if !ok || e.MaxInput != 1_048_576 || e.MaxOutput != 65_535 || e.Mode != "chat" {
		t.Fatalf("got %+v", e)
	}
	low, high := pricing.Cost(e.Price, llm.Usage{Input: 200_000}), pricing.Cost(e.Price, llm.Usage{Input: 200_001})
	if low != dollars(t, "0.25") || high != dollars(t, "0.5000025") {
		t.Errorf("got %v and %v below and above the threshold", low, high)
	}
}

// TestLookup_Providers checks that the table speaks of the providers by the names that they have.
func TestLookup_Providers(t *testing.T) {
	t.Parallel()
	for name, model := range map[string]string{"openai": "gpt-4o", "groq": "openai/gpt-oss-120b", "deepseek": "deepseek-chat", "mistral": "mistral-large-latest"} {
		if _, ok := provider.Lookup(name); !ok {
			t.Errorf("no provider %s", name)
		}
		if e, ok := pricing.Lookup(name, model); !ok || e.Price == nil {
			t.Errorf("no price of %s at %s", model, name)
		}
	}
}

func BenchmarkCost(b *testing.B) {
	p := priceOf(b, "openai/gpt-4o")
	u := llm.Usage{Input: 1234, CacheRead: 5678, Output: 910, Reasoning: 11}
	b.ReportAllocs()
	for b.Loop() {
		pricing.Cost(p, u)
	}
}

func BenchmarkEstimate(b *testing.B) {
	p := priceOf(b, "openai/gpt-4o")
	b.ReportAllocs()
	for b.Loop() {
		pricing.Estimate(p, pricing.Request{PromptBytes: 1234, MaxTokens: 100})
	}
}

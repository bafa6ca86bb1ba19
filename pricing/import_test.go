package pricing_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/resource"
)

func rows(entries []*pricing.Entry) []string {
	var out []string
	for _, e := range entries {
		out = append(out, strings.ReplaceAll(e.Row(), "\t", " | "))
	}
	return out
}

func TestReadCSV(t *testing.T) {
	t.Parallel()
	f, err := pricing.Read([]byte("\xef\xbb\xbfprovider,model,mode,max_input_tokens,input,output,cache_read,reasoning,tier_above,tier_input,batch_input,per_second_in,per_second_out,per_image_in,per_pixel_in,per_query,per_gpu_second,gpus,note\n" +
		"vertex_ai-x,vertex_ai/B,chat,10,1.25,1.6000000000000001,,1.6000000000000001,200000,2.5,0.625,,,,,,,,hello\n" +
		",nobody,chat,,1,,,,,,,,,,,,,,\n" +
		"p,negative,chat,,-1,,,,,,,,,,,,,,\n" +
		"p,infinite,chat,,Inf,,,,,,,,,,,,,,\n" +
		"p,nan,chat,,1,NaN,,,,,,,,,,,,,\n" +
		"p,huge,chat,,1e39,,,,,,,,,,,,,,\n" +
		"p,p/double,chat,,1,2,,,,,,,,,,,,,\n" +
		"p,double,chat,,1,2,0.1,,,,,,,,,,,,\n" +
		"q,plain,chat,,9,9,,,,,,,,,,,,,\n" +
		"q,q/plain,chat,,1,1,,,,,,,,,,,,,\n" +
		"p,unpriced,chat,,,,,,,,,,,,,,,,\n" +
		"p,hired,chat,,,,,,,,,0.5,0.5,,,,,,\n" +
		"p,whisper,audio_transcription,,,,,,,,,0.0001,0.0001,,,,,,\n" +
		"p,picture,image_generation,,,,,,,,,,,0.04,0.00000001,,,,\n" +
		"p,own,chat,,0,0,,,,,,,,,,,0.000555555555556,0.25,\n" +
		"xai,xai/g,chat,,1,1,,,128000,2,,,,,,,,,\n" +
		"p,rank,rerank,,,,,,,,,,,,,0.002,,,\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"vertex_ai | b | chat | 10 | 0 | input=1250000000 | output=1600000000 | batch input=625000000 | >200000 input=2500000000",
		"p | double | chat | 0 | 0 | input=1000000000 | output=2000000000 | cache_read=100000000",
		"q | plain | chat | 0 | 0 | input=1000000000 | output=1000000000",
		"p | unpriced | chat | 0 | 0",
		"p | hired | chat | 0 | 0 | input=0 | output=0 | second=500000000000000",
		"p | whisper | audio_transcription | 0 | 0 | input=0 | output=0 | input_second=100000000000",
		"p | picture | image_generation | 0 | 0 | input=0 | output=0 | output_image=40000000000000",
		"p | own | chat | 0 | 0 | input=0 | output=0 | gpu_second=555555555556 | gpus=250000000",
		"xai | g | chat | 0 | 0 | input=1000000000 | output=1000000000 | >127999 input=2000000000",
		"p | rank | rerank | 0 | 0 | input=0 | output=0 | query=2000000000000",
	}
	if d := cmp.Diff(want, rows(f.Entries)); d != "" {
		t.Errorf("rows (-want +got):\n%s", d)
	}
	if len(f.Refused) != 5 || len(f.Doubles) != 2 {
		t.Errorf("refused %v, doubles %v", f.Refused, f.Doubles)
	}
	f, err = pricing.Read([]byte("provider,model,mode,input,dimensions,features,deprecated_on\n" +
		"p,a,chat,,3,vision tools magic,2027-01-31\np,b,chat,1,,,soon\np,c,chat,1,many,,\n"))
	if err != nil || len(f.Refused) != 1 {
		t.Fatal(err, f)
	}
	want = []string{"p | a | chat | 0 | 0 | features=tools,vision | dimensions=3 | deprecated_on=2027-01-31", "p | b | chat | 0 | 0 | input=1000000000 | output=0"}
	if d := cmp.Diff(want, rows(f.Entries)); d != "" {
		t.Errorf("rows (-want +got):\n%s", d)
	}
	for _, bad := range []string{"", "a,b\n1,2\n", "provider,model\np\n", `provider,model` + "\n" + `"p`} {
		if _, err := pricing.Read([]byte(bad)); err == nil {
			t.Errorf("read %q", bad)
		}
	}
}

func TestReadMap(t *testing.T) {
	t.Parallel()
	f, err := pricing.Read([]byte(`{
		"sample_spec": {"litellm_provider": "one of", "input_cost_per_token": 0},
		"fallback_generalizations": {"rules": []},
		"gpt-x": {"litellm_provider": "openai", "mode": "chat", "max_input_tokens": 272000, "max_output_tokens": "128000",
			"input_cost_per_token": 2.5e-06, "output_cost_per_token": 1.5e-05, "cache_read_input_token_cost": 2.5e-07,
			"cache_creation_input_token_cost_above_1hr": 5e-06, "output_cost_per_reasoning_token": 1.5e-05,
			"input_cost_per_token_priority": 5e-06, "input_cost_per_token_above_272k_tokens": 5e-06,
			"input_cost_per_token_above_272k_tokens_priority": 1e-05, "output_cost_per_token_batches": 7.5e-06,
			"cache_read_input_audio_token_cost": 1e-06, "input_cost_per_token_above_128000_tokens": 3e-06,
			"search_context_cost_per_query": {"search_context_size_low": 0.02, "search_context_size_medium": 0.025},
			"off_peak_pricing": {}, "regional_processing_uplift_multiplier_eu": 1.1, "supports_vision": true, "supports_magic": true, "supports_pdf_input": false, "output_vector_size": 3, "deprecation_date": "2027-01-31"},
		"dashscope/tiers": {"litellm_provider": "dashscope", "mode": "chat", "tiered_pricing": [
			{"range": [0, 32000.0], "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06},
			{"range": [32000.0, 128000.0], "input_cost_per_token": 3e-06, "output_cost_per_token": 4e-06}]},
		"xai/g": {"litellm_provider": "xai", "mode": "chat", "input_cost_per_token": "1e-06", "input_cost_per_token_above_200k_tokens": 2e-06},
		"bad": {"litellm_provider": "p", "input_cost_per_token": "NaN"},
		"worse": {"litellm_provider": "p", "input_cost_per_token": -1e-06},
		"none": {"mode": "chat"},
		"list": []
	}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"dashscope | tiers | chat | 0 | 0 | input=1000000000 | output=2000000000 | >32000 input=3000000000 | >32000 output=4000000000",
		"openai | gpt-x | chat | 272000 | 128000 | features=vision | dimensions=3 | deprecated_on=2027-01-31 | input=2500000000 | output=15000000000 | cache_read=250000000 | cache_write_1h=5000000000 | cache_read_audio=1000000000 | query=25000000000000 | batch output=7500000000 | priority input=5000000000 | >128000 input=3000000000 | >272000 input=5000000000 | >272000 priority input=10000000000",
		"xai | g | chat | 0 | 0 | input=1000000000 | output=0 | >199999 input=2000000000",
	}
	if d := cmp.Diff(want, rows(f.Entries)); d != "" {
		t.Errorf("rows (-want +got):\n%s", d)
	}
	if len(f.Refused) != 4 || f.Ignored["off_peak_pricing"] != 1 || f.Ignored["regional_processing_uplift_multiplier_eu"] != 1 || len(f.Ignored) != 2 {
		t.Errorf("refused %v, ignored %v", f.Refused, f.Ignored)
	}
}

func TestCustomPrice(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, fields, want, used, bad string }{
		{"tokens", `{"input_cost_per_token":1.5e-07,"output_cost_per_token":"6e-07","model":"x"}`, `{"input":0.15,"output":0.6}`, "input_cost_per_token output_cost_per_token", ""},
		{"an exponent of one digit", `{"input_cost_per_token":1.5e-7}`, `{"input":0.15,"output":0}`, "input_cost_per_token", ""},
		{"time", `{"input_cost_per_second":0.00042}`, `{"input":0,"output":0,"second":0.00042}`, "input_cost_per_second", ""},
		{"a tier", `{"input_cost_per_token":1e-06,"output_cost_per_token_above_200k_tokens":2e-06}`, `{"input":1,"output":0,"variants":[{"above":200000,"output":2}]}`, "input_cost_per_token output_cost_per_token_above_200k_tokens", ""},
		{"none", `{"model":"x","input_cost_per_token":null}`, `null`, "input_cost_per_token", ""},
		{"wrong", `{"output_cost_per_token":{}}`, `null`, "output_cost_per_token", "output_cost_per_token"},
		{"too much", `{"output_cost_per_token":1e999}`, `null`, "output_cost_per_token", "output_cost_per_token"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var fields map[string]json.RawMessage
			if err := json.Unmarshal([]byte(tt.fields), &fields); err != nil {
				t.Fatal(err)
			}
			p, used, err := pricing.CustomPrice(fields)
			got, _ := json.Marshal(p)
			if string(got) != tt.want || strings.Join(used, " ") != tt.used || (err != nil) != (tt.bad != "") || tt.bad != "" && !strings.Contains(err.Error(), tt.bad) {
				t.Errorf("got %s, %v, %v", got, used, err)
			}
		})
	}
}

func file(t *testing.T, lines ...string) *pricing.File {
	t.Helper()
	f, err := pricing.Read([]byte("provider,model,mode,input,output\n" + strings.Join(lines, "\n") + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// book is what counts after the lines were imported.
func book(t *testing.T, lines ...string) *pricing.Book {
	t.Helper()
	p, err := pricing.NewPlan(pricing.NewBook(nil), file(t, lines...), pricing.How{Accept: true})
	if err != nil {
		t.Fatal(err)
	}
	return written(t, p)
}

func written(t *testing.T, p *pricing.Plan) *pricing.Book {
	t.Helper()
	table := &resource.PriceTable{}
	if err := p.Write(table); err != nil {
		t.Fatal(err)
	}
	return pricing.NewBook(table)
}

func TestPlan(t *testing.T) {
	t.Parallel()
	now := []string{"x,same,chat,1,1", "x,small,chat,1,1", "x,big,chat,1,1", "x,zero,chat,1,1", "x,gone,chat,1,1", "x,used,chat,1,1", "x,bad,chat,1,1", "x,lost,chat,1,1"}
	next := []string{"x,same,chat,1,1", "x,small,chat,100,1", "x,big,chat,101,1", "x,zero,chat,0,1", "x,new,chat,5,5", "x,bad,chat,-1,1", "x,lost,chat,,"}
	for _, tt := range []struct {
		name string
		how  pricing.How
		want map[string]string // kind and, after a colon, why it is held
	}{
		{"at once", pricing.How{Replace: true, InUse: map[string]bool{"x/used": true}}, map[string]string{
			"small": "changed:", "big": "changed:input changes more than 100 times", "zero": "changed:input goes from or to 0", "new": "added:",
			"bad": `refused:refused: input: "-1" is negative`, "lost": "changed:the price is gone", "gone": "removed:", "used": "removed:a model in use has vanished",
		}},
		{"merged", pricing.How{}, map[string]string{
			"small": "changed:", "big": "changed:input changes more than 100 times", "zero": "changed:input goes from or to 0", "new": "added:",
			"bad": `refused:refused: input: "-1" is negative`, "lost": "changed:the price is gone",
		}},
		{"accepted", pricing.How{Replace: true, Accept: true}, map[string]string{
			"small": "changed:", "big": "changed:", "zero": "changed:", "new": "added:",
			"bad": `refused:refused: input: "-1" is negative`, "lost": "changed:", "gone": "removed:", "used": "removed:",
		}},
		{"reviewed", pricing.How{Replace: true, Review: true}, map[string]string{
			"small": "changed:review", "big": "changed:input changes more than 100 times", "zero": "changed:input goes from or to 0", "new": "added:review",
			"bad": `refused:refused: input: "-1" is negative`, "lost": "changed:the price is gone", "gone": "removed:review", "used": "removed:review",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, err := pricing.NewPlan(book(t, now...), file(t, next...), tt.how)
			if err != nil {
				t.Fatal(err)
			}
			got, held := map[string]string{}, map[string]bool{}
			for _, c := range p.Changes {
				got[c.Model] = c.Kind + ":" + c.Held
				held[c.Model] = c.Held != ""
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("changes (-want +got):\n%s", d)
			}
			after := written(t, p)
			for _, name := range []string{"small", "big", "zero", "bad", "lost", "used", "gone"} {
				e, _, ok := after.Row("x", name)
				old := ok && e.Price != nil && e.Price.Input == resource.Dollar && e.Price.Output == resource.Dollar
				if held[name] && !old {
					t.Errorf("%s is held, and has changed to %v", name, e)
				}
			}
		})
	}
}

func TestPlan_Accept(t *testing.T) {
	t.Parallel()
	now := book(t, "x,a,chat,1,1", "x,b,chat,1,1", "x,gone,chat,1,1")
	p, err := pricing.NewPlan(now, file(t, "x,a,chat,500,1", "x,b,chat,2,2", "x,bad,chat,-1,1"), pricing.How{Replace: true, Review: true})
	if err != nil {
		t.Fatal(err)
	}
	waiting := written(t, p)
	proposed, err := pricing.Proposed(waiting)
	if err != nil || len(proposed) != 4 {
		t.Fatalf("got %v, %v", proposed, err)
	}
	one, err := pricing.Accept(waiting, []string{"x/a"})
	if err != nil || len(one.Changes) != 1 || one.Held() != 3 {
		t.Fatalf("got %+v, %v", one, err)
	}
	rest, err := pricing.Accept(written(t, one), nil)
	if err != nil || rest.Held() != 0 {
		t.Fatalf("got %+v, %v", rest, err)
	}
	done := written(t, rest)
	for name, want := range map[string]resource.Money{"a": 500 * resource.Dollar, "b": 2 * resource.Dollar} {
		if e, imported, ok := done.Row("x", name); !ok || !imported || e.Price.Input != want {
			t.Errorf("%s: got %v", name, e)
		}
	}
	if _, _, ok := done.Row("x", "gone"); ok {
		t.Error("what was removed is there")
	}
}

func TestPlan_Shrunk(t *testing.T) {
	t.Parallel()
	var many []string
	for i := range 10 {
		many = append(many, fmt.Sprintf("x,m%d,chat,1,1", i))
	}
	if _, err := pricing.NewPlan(book(t, many...), file(t, many[:4]...), pricing.How{Replace: true}); err == nil {
		t.Error("a file with fewer than half of the rows was taken")
	}
	if _, err := pricing.NewPlan(book(t, many...), file(t, many[:5]...), pricing.How{Replace: true}); err != nil {
		t.Error(err)
	}
}

// TestPack_Whole holds the largest file to what an entry of the log takes.
func TestPack_Whole(t *testing.T) {
	t.Parallel()
	var f pricing.File
	for e := range pricing.NewBook(nil).All() {
		f.Entries = append(f.Entries, e)
	}
	p, err := pricing.NewPlan(book(t, "x,a,chat,1,1"), &f, pricing.How{Review: true})
	if err != nil || p.Unchanged != len(f.Entries) {
		t.Fatalf("%d of %d unchanged, %v", p.Unchanged, len(f.Entries), err)
	}
	table := &resource.PriceTable{Meta: resource.Meta{ID: resource.PriceTableID}}
	if err := p.Write(table); err != nil {
		t.Fatal(err)
	}
	if err := table.Validate(); err != nil || len(table.Rows) > 200_000 {
		t.Errorf("%d bytes, %v", len(table.Rows), err)
	}
}

func TestBook_Of(t *testing.T) {
	t.Parallel()
	b := book(t, "openai,gpt-4o,chat,1,1", "openai,mine,chat,3,3")
	own := &resource.Price{Input: 7}
	for _, tt := range []struct {
		name string
		d    resource.Deployment
		want resource.Money // of input; -1: unknown
	}{
		{"its own", resource.Deployment{Provider: "openai", Price: own}, 7},
		{"imported", resource.Deployment{Provider: "openai", Upstream: "gpt-4o"}, resource.Dollar},
		{"imported, undated", resource.Deployment{Provider: "openai", Upstream: "mine-2026-01-01"}, 3 * resource.Dollar},
		{"the model's name", resource.Deployment{Provider: "openai"}, 150_000_000},
		{"built in", resource.Deployment{Provider: "groq", Upstream: "openai/gpt-oss-120b"}, 150_000_000},
		{"base_model", resource.Deployment{Provider: "azure", Upstream: "my-deployment", Metadata: json.RawMessage(`{"base_model":"azure/gpt-4o"}`)}, 2_500_000_000},
		{"base_model of another provider", resource.Deployment{Provider: "custom_openai", Upstream: "x", Metadata: json.RawMessage(`{"base_model":"openai/mine"}`)}, 3 * resource.Dollar},
		{"unknown", resource.Deployment{Provider: "custom_openai", Upstream: "x", Metadata: json.RawMessage(`{"base_model":5}`)}, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e, ok := b.Of(&tt.d, "gpt-4o-mini")
			if ok != (tt.want >= 0) || ok && e.Price.Input != tt.want {
				t.Errorf("got %+v, %v", e, ok)
			}
		})
	}
}

func TestFetch(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			w.Header().Set("ETag", `"v1"`)
			if r.Header.Get("If-None-Match") == `"v1"` {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			_, _ = w.Write([]byte("data"))
		case "/big":
			w.Header().Set("Content-Length", fmt.Sprint(pricing.MaxFile+1))
			w.WriteHeader(http.StatusOK)
		case "/endless":
			chunk := make([]byte, 1<<20)
			for range pricing.MaxFile>>20 + 1 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		default:
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	t.Cleanup(srv.Close)
	f, err := pricing.Fetch(t.Context(), srv.Client(), srv.URL+"/ok", "")
	if err != nil || string(f.Data) != "data" || f.ETag != `"v1"` {
		t.Fatalf("got %+v, %v", f, err)
	}
	if f, err = pricing.Fetch(t.Context(), srv.Client(), srv.URL+"/ok", f.ETag); err != nil || !f.NotModified {
		t.Errorf("got %+v, %v", f, err)
	}
	for _, path := range []string{"/big", "/endless", "/teapot"} {
		if _, err := pricing.Fetch(t.Context(), srv.Client(), srv.URL+path, ""); err == nil {
			t.Errorf("%s was taken", path)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("provider,model,mode,input,output,tier_above,tier_input\np,m,chat,1,2,5,3\n"))
	f.Add([]byte(`{"m":{"litellm_provider":"p","input_cost_per_token":1e-6,"tiered_pricing":[{"range":[0,5],"input_cost_per_token":2}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := pricing.Read(data)
		if err != nil {
			return
		}
		packed, err := pricing.Pack(file.Entries)
		if err != nil {
			t.Fatal(err)
		}
		back, err := pricing.Unpack(packed)
		if err != nil || len(back) != len(file.Entries) {
			t.Fatalf("got %d of %d rows, %v", len(back), len(file.Entries), err)
		}
	})
}

func BenchmarkBill(b *testing.B) {
	e, _ := pricing.Lookup("openai", "gpt-5.4")
	u := llm.Usage{Input: 300_000, CacheRead: 5678, Output: 910, Reasoning: 11, Service: llm.ServicePriority}
	a := resource.Adjustment{Discount: 50_000, Margin: 100_000}
	b.ReportAllocs()
	for b.Loop() {
		pricing.Bill(e.Price, a, u)
	}
}

func BenchmarkHold(b *testing.B) {
	e, _ := pricing.Lookup("openai", "gpt-5.4")
	b.ReportAllocs()
	for b.Loop() {
		pricing.Hold(e.Price, resource.Adjustment{}, pricing.Held{Prompt: 1234, Output: 100})
	}
}

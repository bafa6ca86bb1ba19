package vertex

import (
	"errors"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/rerank"
)

// discoveryBase is where Google ranks, for a project, in all regions.
const discoveryBase = "https://discoveryengine.googleapis.com/v1/projects/"

// RootOf is the address of an endpoint: rankings are a service of their own, which has the project
// and no region, and sessions are not below the API's version.
func RootOf(e llm.Endpoint, base string) string {
	if e == llm.GeminiLive {
		root, _, _ := strings.Cut(base, "/v1/")
		return strings.TrimSuffix(root, "/v1")
	}
	if e != llm.VertexRank || !strings.Contains(base, "aiplatform.") || !strings.Contains(base, "googleapis.com/v1/projects/") {
		return base
	}
	_, rest, _ := strings.Cut(base, "/v1/projects/")
	project, _, _ := strings.Cut(rest, "/")
	return discoveryBase + project + "/locations/global"
}

// rankPath is the path of rankings.
const rankPath = "/rankingConfigs/default_ranking_config:rank"

// Rank is the form of rankings.
type Rank struct{}

// maxRecords is how many documents one request may have.
const maxRecords = 200

// EncodeRequest writes a request for the provider.
func (Rank) EncodeRequest(req *rerank.Request, t *llm.Target) ([]byte, error) {
	if len(req.Documents) > maxRecords {
		return nil, llm.Unsayable("documents", "The model's provider takes no more than "+strconv.Itoa(maxRecords)+" documents.")
	}
	dst := llm.AppendString([]byte(`{"model":`), t.Model)
	dst = llm.AppendString(llm.AppendKey(dst, "query"), req.Query)
	dst = append(llm.AppendKey(dst, "records"), '[')
	for i := range req.Documents {
		dst = llm.AppendString(append(llm.AppendComma(dst), `{"id":`...), strconv.Itoa(i))
		dst = append(llm.AppendString(append(dst, `,"content":`...), req.Documents[i].Text), '}')
	}
	dst = append(dst, `],"ignoreRecordDetailsInResponse":true`...)
	if req.TopN > 0 {
		dst = strconv.AppendInt(llm.AppendKey(dst, "topN"), req.TopN, 10)
	}
	if req.MaxTokens > 0 {
		t.Drop("max_tokens_per_doc")
	}
	return append(req.AppendExtra(dst, t, "userLabels"), '}'), nil
}

var errRecord = errors.New("a record has no id that was given, or no score")

// DecodeResponse reads an answer. A score of 0 is left out there.
func (Rank) DecodeResponse(body []byte) (*rerank.Response, error) {
	r := rerank.NewReader(body)
	r.Members(func(name string) {
		if name != "records" {
			r.Raw()
			return
		}
		for i := 0; r.Element(i); i++ {
			one := rerank.Result{Index: -1}
			r.Members(func(name string) {
				switch name {
				case "id":
					if n, err := strconv.Atoi(r.Text()); err == nil {
						one.Index = n
					}
				case "score":
					score, ok := r.Float()
					if !ok {
						r.Fail(errRecord)
					}
					one.Score = score
				default:
					r.Raw()
				}
			})
			if one.Index < 0 {
				r.Fail(errRecord)
				return
			}
			r.Add(one)
		}
	})
	return r.Finish()
}

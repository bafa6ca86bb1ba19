package listen

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/transcript"
)

// RecognizePath is where Google's Speech-to-Text (v2) writes audio down, without a recognizer of one's own.
const RecognizePath = "/recognizers/_:recognize"

// Recognize is its form: up to a minute of audio, and up to 10 MB.
type Recognize struct{}

// EncodeRequest writes a request for the provider.
func (Recognize) EncodeRequest(req *transcript.Request, t *llm.Target) (*llm.Sent, error) {
	if err := untold(req, t); err != nil {
		return nil, err
	}
	req.Texts(t)
	tongue := "auto"
	if req.Language != "" {
		tongue = Tongue(req.Language)
	}
	dst := llm.AppendString([]byte(`{"config":{"autoDecodingConfig":{},"model":`), t.Model)
	dst = append(llm.AppendString(append(llm.AppendKey(dst, "languageCodes"), '['), tongue), ']')
	dst = append(llm.AppendKey(dst, "features"), `{"enableAutomaticPunctuation":true`...)
	if req.Words || req.Segments || req.Format == "srt" || req.Format == "vtt" || req.Format == "verbose_json" {
		dst = append(dst, `,"enableWordTimeOffsets":true`...)
	}
	dst = append(dst, `}},"content":"`...)
	return &llm.Sent{Body: append(base64.StdEncoding.AppendEncode(dst, req.File), `"}`...)}, nil
}

// DecodeResponse reads an answer, which has no results where nothing was said.
func (Recognize) DecodeResponse(body []byte) (*transcript.Response, error) {
	var got struct {
		Results []struct {
			Alternatives []struct {
				Transcript string `json:"transcript"`
				Words      []struct {
					Word  string `json:"word"`
					Start string `json:"startOffset"`
					End   string `json:"endOffset"`
				} `json:"words"`
			} `json:"alternatives"`
			End      string `json:"resultEndOffset"`
			Language string `json:"languageCode"`
		} `json:"results"`
		Metadata struct {
			Billed string `json:"totalBilledDuration"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, transcript.Malformed(err)
	}
	res := new(transcript.Response)
	var texts []string
	ends := 0.0
	for _, one := range got.Results {
		ends = max(ends, seconds(one.End))
		if res.Language == "" {
			res.Language = one.Language
		}
		if len(one.Alternatives) == 0 || one.Alternatives[0].Transcript == "" {
			continue
		}
		best := one.Alternatives[0]
		texts = append(texts, strings.TrimSpace(best.Transcript))
		for _, w := range best.Words {
			res.Words = append(res.Words, transcript.Word{Text: w.Word, Start: seconds(w.Start), End: seconds(w.End)})
		}
	}
	res.Text = strings.Join(texts, " ")
	res.Heard(seconds(got.Metadata.Billed)) // which is paid
	if ends > 0 {
		res.Duration = ends
	}
	return res, nil
}

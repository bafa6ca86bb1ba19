package reconcile

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

const (
	costsPerPage = 180     // days; the most that OpenAI gives at once
	maxCostPages = 200     // of one bill
	maxCostPage  = 4 << 20 // bytes
	maxSaid      = 500     // of what OpenAI says
)

// Doer sends a request. *http.Client is one.
type Doer interface {
	Do(r *http.Request) (*http.Response, error)
}

// OpenAICosts is a question for what OpenAI bills.
type OpenAICosts struct {
	Base     string      // of the API, without a slash at its end: "https://api.openai.com/v1"
	Key      secret.Text // an admin key of the organization
	First    time.Time   // a day in UTC
	Last     time.Time   // likewise, and still asked for
	Projects []string    // whose costs count; empty: all of the organization
}

// FetchOpenAI reads what OpenAI bills, by day, from its costs API (GET /organization/costs with buckets of a
// day). Its errors tell the status and the words of OpenAI, without the key. The bill names no models and no
// requests. ctx bounds how long it takes.
func FetchOpenAI(ctx context.Context, client Doer, q OpenAICosts) (*Bill, error) {
	days := map[string]resource.Money{}
	page := ""
	for range maxCostPages {
		p, err := q.fetch(ctx, client, page)
		if err != nil {
			return nil, fmt.Errorf("read the costs of OpenAI: %w", err)
		}
		if err := q.add(p, days); err != nil {
			return nil, fmt.Errorf("read the costs of OpenAI: %w", err)
		}
		if !p.HasMore {
			b := &Bill{}
			for day, cost := range days {
				b.add(Entry{Day: day, Cost: cost, Requests: unknown, Input: unknown, Output: unknown})
			}
			return b, nil
		}
		if p.NextPage == "" || p.NextPage == page {
			return nil, errors.New("read the costs of OpenAI: the answer has more pages and does not say where")
		}
		page = p.NextPage
	}
	return nil, fmt.Errorf("read the costs of OpenAI: there are more than %d pages", maxCostPages)
}

func (q *OpenAICosts) fetch(ctx context.Context, client Doer, page string) (*costsPage, error) {
	v := url.Values{
		"start_time": {strconv.FormatInt(q.First.Unix(), 10)}, "end_time": {strconv.FormatInt(q.Last.AddDate(0, 0, 1).Unix(), 10)},
		"bucket_width": {"1d"}, "limit": {strconv.Itoa(costsPerPage)}, "project_ids": q.Projects,
	}
	if page != "" {
		v.Set("page", page)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, q.Base+"/organization/costs?"+v.Encode(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+q.Key.Reveal())
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxCostPage+1))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %d: %s", req.URL.Host, resp.StatusCode, q.said(body, resp.StatusCode))
	}
	if len(body) > maxCostPage {
		return nil, fmt.Errorf("%s answers with more than %d bytes", req.URL.Host, maxCostPage)
	}
	p, err := parseCosts(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", req.URL.Host, err)
	}
	return p, nil
}

// said is what the body of an error says, without the key.
func (q *OpenAICosts) said(body []byte, status int) string {
	var e struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	_ = json.Unmarshal(body, &e) // which may be anything
	text := cmp.Or(e.Error.Message, http.StatusText(status), "no reason is given")
	if key := q.Key.Reveal(); key != "" {
		text = strings.ReplaceAll(text, key, "(hidden)")
	}
	if len(text) > maxSaid {
		text = text[:maxSaid] + "…"
	}
	return strings.ToValidUTF8(text, "")
}

// costsPage is an answer of the costs API.
type costsPage struct {
	Object string `json:"object"` // "page"
	Data   []struct {
		Start   int64 `json:"start_time"` // Unix seconds
		Results []struct {
			Amount *struct {
				Value    amount `json:"value"`
				Currency string `json:"currency"`
			} `json:"amount"`
		} `json:"results"`
	} `json:"data"`
	HasMore  bool   `json:"has_more"`
	NextPage string `json:"next_page"`
}

// amount is a number of JSON, or a text that is one.
type amount resource.Money

// UnmarshalJSON reads it, rounded to nanodollars.
func (a *amount) UnmarshalJSON(b []byte) error {
	text := string(b)
	if text == "null" {
		return nil
	}
	if b[0] == '"' {
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
	}
	m, err := resource.RoundMoney(text)
	*a = amount(m)
	return err
}

func parseCosts(body []byte) (*costsPage, error) {
	var p costsPage
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, fmt.Errorf("the answer is no page of costs: %w", err)
	}
	if p.Object != "page" {
		return nil, errors.New(`the answer is no page of costs: it has no "object": "page"`)
	}
	return &p, nil
}

// add adds what a page says to the sums of the days that are asked for.
func (q *OpenAICosts) add(p *costsPage, days map[string]resource.Money) error {
	first, last := q.First.Unix(), q.Last.AddDate(0, 0, 1).Unix()
	for _, bucket := range p.Data {
		if bucket.Start < first || bucket.Start >= last {
			continue
		}
		day := time.Unix(bucket.Start, 0).UTC().Format(time.DateOnly)
		for _, r := range bucket.Results {
			if r.Amount == nil || r.Amount.Value == 0 {
				continue
			}
			if !strings.EqualFold(r.Amount.Currency, "usd") {
				return fmt.Errorf("the costs of %s are in %.10q, not in US dollars", day, r.Amount.Currency)
			}
			sum := days[day] + resource.Money(r.Amount.Value)
			if sum > resource.MaxMoney || sum < -resource.MaxMoney {
				return fmt.Errorf("the costs of %s are beyond a thousand million dollars", day)
			}
			days[day] = sum
		}
	}
	return nil
}

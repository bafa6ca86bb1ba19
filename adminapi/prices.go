package adminapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/prices"
	"github.com/conclave-llm/conclave/pricing"
)

type (
	priceListInput struct {
		Provider string `query:"provider" doc:"of this provider"`
		Q        string `query:"q" doc:"part of the model's name"`
		Imported bool   `query:"imported" doc:"only those that were imported"`
		Limit    int    `query:"limit" default:"50" minimum:"1" maximum:"5000" doc:"rows a page"`
		Cursor   string `query:"cursor" doc:"next_cursor of the page before"`
	}
	priceLookupInput struct {
		Provider string `query:"provider" required:"true" doc:"row of the provider table: openai"`
		Model    string `query:"model" required:"true" doc:"the model's name there"`
	}
	priceFileInput struct {
		Source  string `query:"source" maxLength:"2048" doc:"where the file is from, for people"`
		Replace bool   `query:"replace" doc:"drop imported rows that the file does not have"`
		Accept  bool   `query:"accept" doc:"hold nothing for a person"`
		RawBody []byte `contentType:"application/octet-stream" doc:"prices in CSV with a heading, or the public JSON map of model names"`
	}
	priceAcceptInput struct {
		Body struct {
			Only []string `json:"only,omitempty" maxItems:"5000" doc:"provider/model of those to accept; default: all"`
		}
	}
	bodyOutput[V any] struct{ Body V }
	// writtenOutput is a body with the headers of a write.
	writtenOutput[V any] struct {
		Written
		Body V
	}
)

// registerPrices registers what is done with list prices.
func (s *Server) registerPrices() {
	register(s, "list-prices", http.MethodGet, "/prices", "List prices that count, imported and built in",
		func(_ context.Context, in *priceListInput) (*bodyOutput[client.Page[client.PriceRow]], error) {
			return &bodyOutput[client.Page[client.PriceRow]]{s.prices.List(prices.Query(*in))}, nil
		})
	register(s, "lookup-price", http.MethodGet, "/prices/lookup", "The list price of a provider's model",
		func(_ context.Context, in *priceLookupInput) (*bodyOutput[client.PriceRow], error) {
			row, err := s.prices.Lookup(in.Provider, in.Model)
			if err != nil {
				return nil, s.problem(err)
			}
			return &bodyOutput[client.PriceRow]{row}, nil
		})
	register(s, "get-price-source", http.MethodGet, "/prices/source", "Where the prices come from",
		func(context.Context, *struct{}) (*bodyOutput[client.PriceSource], error) {
			return &bodyOutput[client.PriceSource]{s.prices.Source()}, nil
		})
	registerWith(s, large(operation("diff-prices", http.MethodPost, "/prices/diff", "What a file of prices would change")),
		func(_ context.Context, in *priceFileInput) (*bodyOutput[client.PriceDiff], error) {
			diff, err := s.prices.Plan(in.file())
			if err != nil {
				return nil, s.problem(err)
			}
			return &bodyOutput[client.PriceDiff]{diff}, nil
		})
	registerWith(s, large(operation("import-prices", http.MethodPost, "/prices/import", "Apply a file of prices")),
		func(ctx context.Context, in *priceFileInput) (*writtenOutput[client.PriceDiff], error) {
			diff, w, err := s.prices.Import(ctx, callerOf(ctx), in.file())
			if err != nil {
				return nil, s.problem(err)
			}
			return &writtenOutput[client.PriceDiff]{headersOf(w), diff}, nil
		})
	s.registerPriceChanges()
}

// registerPriceChanges registers what changes prices without a file.
func (s *Server) registerPriceChanges() {
	registerWith(s, large(operation("sync-prices", http.MethodPost, "/prices/sync", "Download prices as the setting price_sync says")),
		func(ctx context.Context, _ *struct{}) (*writtenOutput[client.PriceDiff], error) {
			diff, w, err := s.prices.Sync(ctx, callerOf(ctx))
			if err != nil {
				return nil, s.problem(err)
			}
			return &writtenOutput[client.PriceDiff]{headersOf(w), diff}, nil
		})
	register(s, "list-proposed-prices", http.MethodGet, "/prices/proposed", "Prices that wait for a person",
		func(context.Context, *struct{}) (*bodyOutput[client.PriceDiff], error) {
			diff, err := s.prices.Proposed()
			if err != nil {
				return nil, s.problem(err)
			}
			return &bodyOutput[client.PriceDiff]{diff}, nil
		})
	register(s, "accept-prices", http.MethodPost, "/prices/proposed/accept", "Make prices of what waits",
		func(ctx context.Context, in *priceAcceptInput) (*writtenOutput[client.PriceDiff], error) {
			diff, w, err := s.prices.Accept(ctx, callerOf(ctx), in.Body.Only)
			if err != nil {
				return nil, s.problem(err)
			}
			return &writtenOutput[client.PriceDiff]{headersOf(w), diff}, nil
		})
	register(s, "discard-prices", http.MethodDelete, "/prices/proposed", "Drop the prices that wait",
		func(ctx context.Context, _ *struct{}) (*doneOutput, error) {
			return s.done(s.prices.Discard(ctx, callerOf(ctx)))
		})
	register(s, "reset-prices", http.MethodDelete, "/prices", "Drop all imported prices, so that the built-in ones count",
		func(ctx context.Context, _ *struct{}) (*doneOutput, error) {
			return s.done(s.prices.Reset(ctx, callerOf(ctx)))
		})
}

func (in *priceFileInput) file() prices.Import {
	source := in.Source
	if source == "" {
		source = "upload"
	}
	return prices.Import{
		Source: source, Data: copied(in.RawBody),
		How: pricing.How{Replace: in.Replace, Accept: in.Accept},
	}
}

// large lets an operation take a file of prices.
func large(op huma.Operation) huma.Operation {
	op.MaxBodyBytes, op.BodyReadTimeout = pricing.MaxFile, largeTimeout
	return op
}

// largeTimeout is how long a file of prices may take to arrive.
const largeTimeout = 5 * time.Minute

package cli

import "github.com/conclave-llm/conclave/cmd/conclave/cli/keyimport"

// KeyTable is what a CSV file of keys is read with.
func KeyTable() keyimport.Table {
	return keyimport.Table{Columns: csvColumns(keyFields), Finish: budgetFlags}
}

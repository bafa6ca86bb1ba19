module example-provider

go 1.26.0

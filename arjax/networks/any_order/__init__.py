"""Networks that predict from any set of observed sites, or in any order by design."""

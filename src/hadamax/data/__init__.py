"""Published scores as CSV files, each with its source beside it; `hadamax.published` reads them."""

"""The papers' ablation tables: their figures, and runs beside them."""

"""What people read of a round: the report card's figures, tables and pictures, and the model card."""

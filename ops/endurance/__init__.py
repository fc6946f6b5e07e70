"""`make endurance`: a real service under churn, changes and kills for 15 minutes or longer, and what it keeps."""
